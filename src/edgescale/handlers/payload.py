"""Reading the payloads of the built-in kinds."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from edgescale.errors import InvalidInput

M = TypeVar("M", bound=Message)


def decode(kind: type[M], payload: bytes) -> M:
    """The payload as a message.

    Raises:
        InvalidInput: the bytes are no such message; they never will be, so the task is rejected.
    """
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise InvalidInput("payload", f"must be an encoded {kind.DESCRIPTOR.full_name}") from error
