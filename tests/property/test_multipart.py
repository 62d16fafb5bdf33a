"""Forms cut anywhere: what arrives must not depend on how it arrives."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from fastapi import Request
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgescale.errors import InvalidInput
from edgescale.gateway.uploads import form_parts, messages
from edgescale.v1.ingestion_service_pb2 import UploadFileStart

BOUNDARY = "b0"
DELIMITER = b"\r\n--b0"
BYTES_MAX = 100_000
# Everything that a delimiter is made of, whole and in parts, so that bodies are full of near misses.
FRAGMENTS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"-",
    b"--",
    b"--b0",
    b"--b0--",
    b"\r\n--b",
    b"\r\n--",
    b"b0",
    b" ",
    b"\t",
    b"x",
    b"\0",
]
near_boundaries = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=25).map(b"".join)
# RFC 2046: the delimiter must not appear in what it delimits.
contents = near_boundaries.filter(lambda content: DELIMITER not in content + b"\r\n")


def form(content: bytes) -> bytes:
    return b"".join(
        (
            b'--b0\r\nContent-Disposition: form-data; name="name"\r\n\r\nn\r\n',
            b'--b0\r\nContent-Disposition: form-data; name="file"; filename="f"\r\nContent-Type: a/b\r\n\r\n',
            content,
            b"\r\n--b0--\r\n",
        )
    )


async def read(pieces: Iterable[bytes]) -> tuple[str, str, bytes]:
    """Name, media type and bytes of the file in a body that arrives in these pieces."""
    incoming = iter([*[(piece, True) for piece in pieces], (b"", False)])

    async def receive() -> dict[str, Any]:
        body, more = next(incoming)
        return {"type": "http.request", "body": body, "more_body": more}

    headers = [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]
    request = Request({"type": "http", "headers": headers}, receive)
    name, content_type, content = "", "", b""
    async for message in messages(form_parts(request, None, BYTES_MAX), UploadFileStart(), BYTES_MAX):
        if message.WhichOneof("part") == "start":
            name, content_type = message.start.metadata.name, message.start.metadata.content_type
        content += message.chunk
    return name, content_type, content


async def verdict(pieces: Iterable[bytes]) -> tuple[str, str, bytes] | None:
    try:
        return await read(pieces)
    except InvalidInput:
        return None


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(body) + 1) for place in places}), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


@given(contents)
@example(b"")
@example(b"--b0--\r\n")
@example(b"\r\n--b")
@example(b"\r\n--b\r\n--b\r")
@settings(max_examples=60, deadline=None)
def test_a_file_is_the_same_wherever_its_form_is_cut_in_two(content: bytes) -> None:
    body = form(content)

    async def all_cuts() -> set[tuple[str, str, bytes]]:
        return {await read([body[:place], body[place:]]) for place in range(len(body) + 1)}

    assert asyncio.run(all_cuts()) == {("n", "a/b", content)}


@given(contents, st.lists(st.integers(0, 10_000), max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_file_is_the_same_into_however_many_pieces_its_form_is_cut(content: bytes, places: list[int]) -> None:
    assert asyncio.run(read(cut(form(content), places))) == ("n", "a/b", content)


@given(contents)
@settings(max_examples=30, deadline=None)
def test_a_file_is_the_same_byte_by_byte(content: bytes) -> None:
    assert asyncio.run(read(form(content)[i : i + 1] for i in range(len(form(content))))) == ("n", "a/b", content)


@given(near_boundaries, st.lists(st.integers(0, 10_000), max_size=10))
@settings(max_examples=300, deadline=None)
def test_whatever_is_sent_is_refused_or_read_alike_in_one_piece_and_in_many(wild: bytes, places: list[int]) -> None:
    for body in (wild, b"--b0\r\n" + wild, form(wild), form(b"")[:-8] + wild, b"\r\n" + wild + form(b"")):
        assert asyncio.run(verdict(cut(body, places))) == asyncio.run(verdict([body]))
