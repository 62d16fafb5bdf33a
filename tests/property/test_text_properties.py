from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgescale.handlers.analysis import analyse, warm
from edgescale.handlers.counting import LineCounter, TextCounter, WordCounter, count_lines
from edgescale.handlers.terms import count_terms
from edgescale.v1.file_pb2 import TextCounts
from edgescale.v1.text_pb2 import TextAnalysis

SPECIAL = [
    "a",
    "b ",
    "\r\n",
    "\n",
    "\r",
    "\x85",
    "\u2028",
    "\u2029",
    "\f",
    "\v",
    "\x1c",
    "\ufeff",
    "\u00a0",
    "é",
    "語",
    "👍",
]
TEXTS = st.lists(st.one_of(st.sampled_from(SPECIAL), st.characters(codec="utf-8")), max_size=30).map("".join)
BYTES = st.one_of(
    TEXTS.map(str.encode), st.binary(max_size=30), TEXTS.map(lambda text: b"\xef\xbb\xbf" + text.encode())
)


@pytest.fixture(scope="module", autouse=True)
def _models() -> None:
    warm()


def cuttings(length: int) -> Iterator[list[tuple[int, int]]]:
    """In two at every place, in ones, and in threes."""
    for place in range(length + 1):
        yield [(0, place), (place, length)]
    for step in (1, 3):
        yield [(start, start + step) for start in range(0, length, step)]


def counted(pieces: list[bytes]) -> TextCounts | None:
    counter = TextCounter()
    for piece in pieces:
        counter.feed(piece)
    return counter.finish()


@given(TEXTS)
def test_lines_and_words_do_not_depend_on_where_a_text_is_cut(text: str) -> None:
    for pieces in cuttings(len(text)):
        lines, words = LineCounter(), WordCounter()
        for start, end in pieces:
            lines.feed(text[start:end])
            words.feed(text[start:end])
        assert lines.lines == count_lines(text)
        assert words.words == len(text.split())


@given(BYTES)
def test_what_is_text_does_not_depend_on_where_its_bytes_are_cut(content: bytes) -> None:
    whole = counted([content])
    for pieces in cuttings(len(content)):
        assert counted([content[start:end] for start, end in pieces]) == whole


@given(BYTES)
def test_text_is_utf_8_without_nul(content: bytes) -> None:
    try:
        is_text = "\0" not in content.decode()
    except UnicodeDecodeError:
        is_text = False
    assert (counted([content]) is not None) == is_text


@given(TEXTS)
def test_lines_are_those_of_a_splitting_at_their_ends(text: str) -> None:
    for end in ("\r\n", "\r", "\x85", "\u2028", "\u2029"):
        text = text.replace(end, "\n")
    lines = text.split("\n")
    assert count_lines(text) == len(lines) - (lines[-1] == "")


@given(TEXTS)
def test_a_line_more_is_a_line_more(text: str) -> None:
    separator = "" if text.endswith(("\n", "\r", "\x85", "\u2028", "\u2029")) else "\n"
    extended = text + (separator if text else "") + "one more line"
    assert count_lines(extended) == count_lines(text) + 1


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), max_size=20))
def test_words_are_counted_whatever_their_case(words: list[str]) -> None:
    folded = count_terms(words)
    assert folded.total() == len(words)
    assert count_terms(word.casefold() for word in words) == folded
    assert count_terms(list(folded)) == dict.fromkeys(folded, 1)


@given(TEXTS)
def test_the_same_text_has_the_same_analysis(text: str) -> None:
    assert analyse(text, 10) == analyse(text, 10)


@given(TEXTS, TEXTS)
def test_lines_that_are_joined_add_up(first: str, second: str) -> None:
    def measures(text: str) -> tuple[int, int, int]:
        analysis = TextAnalysis.FromString(analyse(text, 1))
        return analysis.characters, analysis.words, analysis.sentences

    joined = measures(first + "\n\n" + second)
    apart = zip(measures(first), measures(second), strict=True)
    # An end of line is a boundary of everything in UAX 29, except that it makes one character with a "\r" before it.
    expected = [one + other for one, other in apart]
    assert list(joined) == [expected[0] + 2 - first.endswith("\r"), expected[1], expected[2]]
