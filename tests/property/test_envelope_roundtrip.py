"""Whatever stands in an entry: it is the envelope that was sent, or it is no envelope; nothing in between."""

from hypothesis import given
from hypothesis import strategies as st

from edgescale.envelope import ENVELOPE_FIELD, REQUEST_ID_FIELD, Envelope, digest
from edgescale.errors import EnvelopeError

TEXTS = st.text(max_size=200)
ENVELOPES = st.builds(
    Envelope,
    request_id=st.text(min_size=1, max_size=128),
    kind=st.text(min_size=1, max_size=64),
    payload=st.binary(max_size=2_000),
    agent_id=TEXTS,
    file_id=TEXTS,
    traceparent=TEXTS,
)


def fields_of(envelope: Envelope) -> dict[bytes, bytes]:
    return {REQUEST_ID_FIELD: envelope.request_id.encode(), ENVELOPE_FIELD: envelope.encode()}


@given(ENVELOPES)
def test_any_envelope_survives_its_entry(envelope: Envelope) -> None:
    assert Envelope.decode(fields_of(envelope)) == envelope


@given(ENVELOPES, st.dictionaries(st.binary(max_size=20), st.binary(max_size=50), max_size=5))
def test_further_fields_change_nothing(envelope: Envelope, further: dict[bytes, bytes]) -> None:
    assert Envelope.decode({**further, **fields_of(envelope)}) == envelope


ENTRY_FIELDS = st.dictionaries(
    st.sampled_from([REQUEST_ID_FIELD, ENVELOPE_FIELD]) | st.binary(max_size=20), st.binary(max_size=300), max_size=6
)


@given(ENTRY_FIELDS)
def test_any_entry_decodes_or_is_named_undecodable(fields: dict[bytes, bytes]) -> None:
    try:
        envelope = Envelope.decode(fields)
    except EnvelopeError:
        return
    assert envelope.request_id
    assert envelope.kind
    assert Envelope.decode(fields_of(envelope)) == envelope


@given(ENVELOPES, st.data())
def test_a_damaged_envelope_decodes_or_is_named_undecodable(envelope: Envelope, data: st.DataObject) -> None:
    encoded = bytearray(envelope.encode())
    position = data.draw(st.integers(0, len(encoded) - 1))
    damaged = data.draw(st.sampled_from(["cut", "changed"]))
    if damaged == "cut":
        del encoded[position:]
    else:
        encoded[position] = data.draw(st.integers(0, 255))
    try:
        decoded = Envelope.decode({REQUEST_ID_FIELD: b"r1", ENVELOPE_FIELD: bytes(encoded)})
    except EnvelopeError:
        return
    assert decoded.request_id == "r1"


PARTS = st.lists(st.binary(max_size=20), max_size=5)


@given(PARTS, PARTS)
def test_digests_are_equal_exactly_when_the_contents_are(one: list[bytes], other: list[bytes]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)


@given(PARTS, st.integers(0, 4), st.integers(0, 20))
def test_a_digest_sees_where_one_part_ends_and_the_next_begins(parts: list[bytes], which: int, cut: int) -> None:
    if which >= len(parts):
        return
    split = [*parts[:which], parts[which][:cut], parts[which][cut:], *parts[which + 1 :]]
    assert digest(*split) != digest(*parts)
