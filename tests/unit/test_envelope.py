"""The envelope and the digest."""

import pytest

from edgescale.envelope import Envelope, digest
from edgescale.errors import EnvelopeError

WHOLE = Envelope("r1", "text", b"payload", agent_id="a1", file_id="f1", traceparent="00-ab-cd-01")


def fields_of(envelope: Envelope) -> dict[bytes, bytes]:
    return {b"request_id": envelope.request_id.encode(), b"envelope": envelope.encode()}


def test_what_was_encoded_is_decoded() -> None:
    assert Envelope.decode(fields_of(WHOLE)) == WHOLE


def test_the_request_id_stands_beside_the_envelope() -> None:
    # The waiter can be told even when the envelope itself does not decode.
    assert b"r1" not in WHOLE.encode()


def test_so_does_the_ordering_key() -> None:
    ordered = Envelope("key-5:1", "text", b"payload", ordering_key="key-5")
    assert b"key-5" not in ordered.encode()
    assert Envelope.decode({**fields_of(ordered), b"ordering_key": b"key-5"}) == ordered
    with pytest.raises(EnvelopeError, match="the entry's bytes are no envelope"):
        Envelope.decode({**fields_of(ordered), b"ordering_key": b"\xff"})


def test_the_same_envelope_is_the_same_bytes() -> None:
    assert WHOLE.encode() == Envelope("r1", "text", b"payload", "a1", "f1", "00-ab-cd-01").encode()


def test_further_fields_of_an_entry_are_ignored() -> None:
    assert Envelope.decode({**fields_of(WHOLE), b"added": b"by a later version"}) == WHOLE


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "the entry has no field 'request_id'"),
        ({b"request_id": b"r1"}, "the entry has no field 'envelope'"),
        ({b"envelope": WHOLE.encode()}, "the entry has no field 'request_id'"),
        ({b"request_id": b"\xff", b"envelope": WHOLE.encode()}, "the entry's bytes are no envelope"),
        ({b"request_id": b"r1", b"envelope": b"\xff\xff"}, "the entry's bytes are no envelope"),
        ({b"request_id": b"r1", b"envelope": b"\x0a\x01\xff"}, "the entry's bytes are no envelope"),
        ({b"request_id": b"", b"envelope": WHOLE.encode()}, "the envelope has no request id"),
        ({b"request_id": b"r1", b"envelope": b""}, "the envelope has no kind"),
    ],
)
def test_an_entry_that_is_no_envelope_is_named_as_such(fields: dict[bytes, bytes], sentence: str) -> None:
    with pytest.raises(EnvelopeError, match=sentence):
        Envelope.decode(fields)


def test_the_same_content_has_the_same_digest() -> None:
    assert digest(b"text", b"hello") == digest(b"text", b"hello")
    # A literal: a later version must recognise a request that an earlier one accepted.
    assert digest(b"text", b"hello") == "b8d38fe3cb42386678132f8e898802db"


@pytest.mark.parametrize("other", [(b"text", b"hellO"), (b"texth", b"ello"), (b"texthello",), (b"text", b"hello", b"")])
def test_other_content_has_another_digest(other: tuple[bytes, ...]) -> None:
    assert digest(*other) != digest(b"text", b"hello")
