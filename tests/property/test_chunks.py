import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgescale.errors import OutOfRange
from edgescale.uploads.assembler import Assembler
from edgescale.uploads.reslice import Reslicer
from edgescale.v1.file_pb2 import FileMetadata


def reslice(parts: list[bytes], size: int) -> list[bytes]:
    reslicer = Reslicer(size)
    pieces = [piece for part in parts for piece in reslicer.feed(part)]
    rest = reslicer.flush()
    assert reslicer.flush() is None
    return pieces if rest is None else [*pieces, rest]


@st.composite
def splits(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> list[bytes]:
    whole = draw(data)
    cuts = draw(st.lists(st.integers(0, len(whole)), max_size=12).map(sorted))
    return [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]


@given(splits(st.binary(max_size=400)), st.integers(1, 70))
def test_resliced_bytes_are_the_same_bytes_in_pieces_of_one_size(parts: list[bytes], size: int) -> None:
    pieces = reslice(parts, size)

    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(1 <= len(piece) <= size for piece in pieces)


@given(splits(st.binary(max_size=400)), st.integers(1, 70))
def test_a_reslicer_holds_less_than_one_piece(parts: list[bytes], size: int) -> None:
    reslicer = Reslicer(size)
    for part in parts:
        for _ in reslicer.feed(part):
            pass
        assert sum(map(len, reslicer._held)) == reslicer._held_bytes < size


def test_a_piece_of_the_right_size_is_passed_on_without_a_copy() -> None:
    data = bytes(range(100))
    assert [piece is data for piece in Reslicer(100).feed(data)] == [True]


def test_a_reslicer_without_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Reslicer(0)


@given(splits(st.binary(max_size=400)))
def test_size_and_digest_do_not_depend_on_how_a_file_is_cut(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    sha256 = hashlib.sha256(whole).hexdigest()
    assembler = Assembler(FileMetadata(size_bytes=len(whole), sha256=sha256), upload_bytes_max=400)

    for part in filter(None, parts):
        assembler.accept(part)

    reference = assembler.reference("0" * 32)
    assert (reference.size_bytes, reference.sha256) == (len(whole), sha256)


@given(splits(st.binary(max_size=400)), st.integers(0, 500))
def test_no_other_size_than_the_declared_one_gets_through(parts: list[bytes], declared: int) -> None:
    whole = b"".join(parts)
    assembler = Assembler(FileMetadata(size_bytes=declared), upload_bytes_max=500)

    def take() -> None:
        for part in filter(None, parts):
            assembler.accept(part)
        assembler.reference("0" * 32)

    if declared == len(whole):
        take()
    else:
        with pytest.raises(OutOfRange):
            take()
