"""Requests and replies cut anywhere: the same frames come out, and no byte is lost or changed."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgescale.harness.chaos.resp import Frame, NotResp, RespSplitter
from tests.redis_wire import decode, encode

# Full of what could be taken for the end or the beginning of something.
near_misses = st.lists(st.sampled_from([b"\r\n", b"\n", b"$3", b"*1\r\n", b"+", b">2", b"\0"]) | st.binary(max_size=3))
texts = near_misses.map(b"".join)
plain = st.text("abcXYZ 0123456789.:-", max_size=8).map(str.encode)


def line(sign: bytes, text: bytes) -> bytes:
    return sign + text + b"\r\n"


def blob(sign: bytes, text: bytes) -> bytes:
    return sign + b"%d\r\n%b\r\n" % (len(text), text)


def listed(sign: bytes, items: list[bytes]) -> bytes:
    count = len(items) // 2 if sign in {b"%", b"|"} else len(items)
    return sign + b"%d\r\n" % count + b"".join(items)


def paired(items: list[bytes]) -> list[bytes]:
    return items[: len(items) // 2 * 2]


leaves = (
    st.builds(line, st.sampled_from([b"+", b"-", b":", b",", b"#", b"("]), plain)
    | st.builds(blob, st.sampled_from([b"$", b"=", b"!"]), texts)
    | st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n"])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.builds(listed, st.sampled_from([b"*", b"~", b">"]), st.lists(inner, max_size=4))
        | st.builds(listed, st.just(b"%"), st.lists(inner, max_size=4).map(paired))
    ),
    max_leaves=8,
)
attributed = st.builds(lambda facts, value: listed(b"|", paired(facts)) + value, st.lists(leaves, max_size=4), values)
replies = st.lists(values | attributed, max_size=6)
typed = st.builds(lambda words: b" ".join(words) + b"\r\n", st.lists(plain.filter(bytes.strip), min_size=1, max_size=3))
requests = st.lists(st.lists(texts, max_size=4).map(encode) | typed, max_size=6)


@st.composite
def pieces(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    cuts = draw(st.lists(st.integers(0, len(whole)), max_size=12).map(sorted))
    return [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]


def split(parts: list[bytes], *, of_requests: bool) -> tuple[list[Frame], bytes, bool]:
    """The frames, what is left, and whether that was found to be nonsense."""
    splitter = RespSplitter(requests=of_requests)
    frames = []
    try:
        for part in parts:
            splitter.feed(part)
            while (frame := splitter.next()) is not None:
                frames.append(frame)
    except NotResp:
        rest = splitter.take_back()
        fed = sum(map(len, (frame.raw for frame in frames))) + len(rest)
        return frames, rest + b"".join(parts)[fed:], True
    return frames, splitter.take_back(), False


@given(st.data(), replies)
def test_replies_come_out_one_by_one_however_they_arrive(data: st.DataObject, said: list[bytes]) -> None:
    frames, rest, nonsense = split(data.draw(pieces(b"".join(said))), of_requests=False)

    assert ([frame.raw for frame in frames], rest, nonsense) == (said, b"", False)


@given(st.data(), requests)
def test_requests_come_out_one_by_one_however_they_arrive(data: st.DataObject, asked: list[bytes]) -> None:
    frames, rest, nonsense = split(data.draw(pieces(b"".join(asked))), of_requests=True)

    assert ([frame.raw for frame in frames], rest, nonsense) == (asked, b"", False)


@given(st.lists(values, max_size=4))
def test_what_a_frame_says_of_itself_is_what_it_holds(said: list[bytes]) -> None:
    for frame in split([b"".join(said)], of_requests=False)[0]:
        [whole], rest = decode(frame.raw)
        assert rest == b""
        assert frame.sign == whole.sign.encode()
        items: list[Any] = whole.value if isinstance(whole.value, list) else []
        assert frame.size == (len(items) // 2 if frame.sign == b"%" else len(items))
        first = items[0].value if items else b""
        assert frame.head == (first if isinstance(first, bytes) else b"")


@given(st.lists(texts, min_size=1, max_size=4))
def test_a_request_tells_its_command_and_how_many_words_it_has(words: list[bytes]) -> None:
    [frame], _, _ = split([encode(words)], of_requests=True)

    assert (frame.sign, frame.head, frame.size) == (b"*", words[0], len(words))


@given(st.data(), st.lists(values | texts, max_size=5).map(b"".join))
def test_of_any_bytes_none_is_lost_and_slicing_changes_nothing(data: st.DataObject, stream: bytes) -> None:
    of_requests = data.draw(st.booleans())
    at_once = split([stream], of_requests=of_requests)
    in_pieces = split(data.draw(pieces(stream)), of_requests=of_requests)

    assert in_pieces == at_once
    frames, rest, _ = at_once
    assert b"".join(frame.raw for frame in frames) + rest == stream
