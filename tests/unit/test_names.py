import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgescale.handlers.names import HIDDEN, display_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ann\\notes.txt", "notes.txt"),
        ("dir/mixed\\last.txt", "last.txt"),
        ("folder/", "folder"),
        ("nul\0byte.txt", "nulbyte.txt"),
        ("two\r\nlines\tand tabs.txt", "two lines and tabs.txt"),
        ("  many \u00a0 spaces \u3000 .txt  ", "many spaces .txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("\u200fאבג\u200e.txt", "אבג.txt"),
        ("\u2066isolated\u2069.txt", "isolated.txt"),
        ("zero\u200bwidth\ufeff.txt", "zerowidth.txt"),
        ("private\ue000use.txt", "privateuse.txt"),
        ("cafe\u0301.txt", "café.txt"),
        ("日本語.txt", "日本語.txt"),
        (".profile", ".profile"),
        ("", "unnamed"),
        (".", "unnamed"),
        ("..", "unnamed"),
        ("///", "unnamed"),
        ("\0\u202e\u200b", "unnamed"),
        ("real.txt/\u200b", "real.txt"),
    ],
)
def test_a_name_is_shown_without_path_and_without_what_cannot_be_seen(name: str, shown: str) -> None:
    assert display_name(name) == shown


def test_a_long_name_is_cut_and_keeps_its_extension() -> None:
    shown = display_name("x" * 10_000 + ".tar")
    assert shown == "x" * 251 + ".tar"


def test_a_cut_name_has_no_space_before_its_extension() -> None:
    assert display_name("x" * 250 + " " + "y" * 50 + ".txt") == "x" * 250 + ".txt"


def test_a_long_extension_is_cut_like_the_rest() -> None:
    assert display_name("a." + "x" * 10_000) == "a." + "x" * 253


def test_a_name_of_exactly_the_longest_length_is_not_cut() -> None:
    assert display_name("y" * 251 + ".txt") == "y" * 251 + ".txt"


NASTY = st.text(
    st.one_of(st.characters(), st.sampled_from("/\\.\0 \t\n\u202e\u2066\u200b\u200d\u0301\ue000\u2028\ufeff")),
    max_size=400,
)


@given(NASTY)
def test_any_name_becomes_one_that_is_fit_to_be_shown(name: str) -> None:
    shown = display_name(name)

    assert 1 <= len(shown) <= 255
    assert not {unicodedata.category(character) for character in shown} & HIDDEN
    assert not set("/\\") & set(shown)
    assert shown.strip(".")
    assert shown == " ".join(shown.split())
    assert unicodedata.is_normalized("NFC", shown)


@given(NASTY)
def test_a_shown_name_is_shown_as_it_is(name: str) -> None:
    assert display_name(display_name(name)) == display_name(name)
