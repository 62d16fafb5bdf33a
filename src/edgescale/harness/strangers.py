"""Entries that strangers add to a lane, and that no worker can do anything with."""

from edgescale.envelope import ENVELOPE_FIELD, REQUEST_ID_FIELD, Envelope

STRANGE = ("garbage", "nameless", "empty", "unknown_kind")


def strange(kind: str, request_id: str) -> tuple[bytes, ...]:
    """Fields and values of one.

    Args:
        kind: what is wrong with it, one of `STRANGE`.
        request_id: that it names, where it names one.
    """
    named = (REQUEST_ID_FIELD, request_id.encode())
    unknown = Envelope(request_id, "no-such-kind", b"").encode()
    entries: dict[str, tuple[bytes, ...]] = {
        "garbage": (*named, ENVELOPE_FIELD, b"\xff\x00 no envelope"),
        "nameless": (ENVELOPE_FIELD, unknown),
        "empty": (b"nothing", b""),
        "unknown_kind": (*named, ENVELOPE_FIELD, unknown),
    }
    return entries[kind]
