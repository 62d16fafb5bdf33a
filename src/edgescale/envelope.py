"""The envelope: what travels in an entry of a stream, and the digest that tells two requests apart."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from edgescale.errors import EnvelopeError
from edgescale.v1 import envelope_pb2

REQUEST_ID_FIELD = b"request_id"
ENVELOPE_FIELD = b"envelope"
ORDERING_KEY_FIELD = b"ordering_key"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One request on its way to a handler.

    Attributes:
        request_id: the caller's or our own id, at most 128 characters. It stands beside the encoded envelope in the
            entry, so that the waiter can be told when the envelope itself does not decode.
        kind: names the handler.
        payload: the handler's input, in the handler's own encoding.
        agent_id: set for heartbeats, else empty.
        file_id: set for uploads, else empty.
        traceparent: W3C trace context, or empty.
        not_before_ms: when it may be started, in milliseconds since 1970 by the broker's clock; 0 for at once.
        expires_ms: from when on it is not started any more; 0 for never.
        ordering_key: of requests that are done one after the other; empty for none. It stands beside the encoded
            envelope, so that the next one's turn comes when this one does not decode.
    """

    request_id: str
    kind: str
    payload: bytes
    agent_id: str = ""
    file_id: str = ""
    traceparent: str = ""
    not_before_ms: int = 0
    expires_ms: int = 0
    ordering_key: str = ""

    def encode(self) -> bytes:
        """The bytes of the entry's envelope field."""
        return envelope_pb2.Envelope(
            kind=self.kind,
            payload=self.payload,
            agent_id=self.agent_id,
            file_id=self.file_id,
            traceparent=self.traceparent,
            not_before_ms=self.not_before_ms,
            expires_ms=self.expires_ms,
        ).SerializeToString(deterministic=True)

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> "Envelope":
        """Read an entry's fields.

        Raises:
            EnvelopeError: a field is missing, or its bytes are no envelope.
        """
        try:
            request_id = fields[REQUEST_ID_FIELD].decode()
            ordering_key = fields.get(ORDERING_KEY_FIELD, b"").decode()
            message = envelope_pb2.Envelope.FromString(fields[ENVELOPE_FIELD])
        except KeyError as error:
            raise EnvelopeError(f"the entry has no field {error.args[0].decode()!r}") from error
        except (UnicodeDecodeError, DecodeError) as error:
            raise EnvelopeError(f"the entry's bytes are no envelope: {type(error).__name__}") from error
        if not request_id or not message.kind:
            raise EnvelopeError("the envelope has no " + ("kind" if request_id else "request id"))
        return cls(
            request_id=request_id,
            kind=message.kind,
            payload=message.payload,
            agent_id=message.agent_id,
            file_id=message.file_id,
            traceparent=message.traceparent,
            not_before_ms=message.not_before_ms,
            expires_ms=message.expires_ms,
            ordering_key=ordering_key,
        )


def ordered_id(ordering_key: str, name: str) -> str:
    """A request id of this name: it begins with its ordering key, if there is one, as that decides on its partition."""
    return f"{ordering_key}:{name}" if ordering_key else name


def digest(*parts: bytes) -> str:
    """32 hexadecimal digits that are the same for the same content; parts are kept apart by their lengths."""
    content = hashlib.blake2b(digest_size=16)
    for part in parts:
        content.update(len(part).to_bytes(8, "big"))
        content.update(part)
    return content.hexdigest()
