"""Request headers that say how a request is to be treated."""

import re
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers

from edgescale.config import Settings
from edgescale.errors import InvalidInput, UnsupportedMediaType

REQUEST_ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
ORDERING_KEY = re.compile(r"[A-Za-z0-9._~-]{1,64}")
REQUEST_ID_RULE = "must be 1 to 128 of A-Z a-z 0-9 . _ : ~ -"
# Source: W3C Trace Context, section 3.2; version ff and ids of zeros only are invalid.
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def idempotency_key(headers: Headers) -> str:
    """The caller's id for its request, from `Idempotency-Key`; empty when it sent none.

    Source: the IETF draft "The Idempotency-Key HTTP Header Field" makes it a quoted string; bare ones are common.

    Raises:
        InvalidInput: not an id, or more than one.
    """
    values = headers.getlist("idempotency-key")
    if not values:
        return ""
    key = values[0].strip()
    if key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if len(values) > 1 or not REQUEST_ID.fullmatch(key):
        raise InvalidInput("Idempotency-Key", f"{REQUEST_ID_RULE}, and sent once")
    return key


def ordering_key(headers: Headers) -> str:
    """The caller's `Ordering-Key`; empty when it sent none.

    Raises:
        InvalidInput: it holds other characters, or too many; or there is more than one.
    """
    values = headers.getlist("ordering-key")
    if len(values) > 1 or not all(ORDERING_KEY.fullmatch(value.strip()) for value in values):
        raise InvalidInput("Ordering-Key", "must be 1 to 64 of A-Z a-z 0-9 . _ ~ -, and sent once")
    return values[0].strip() if values else ""


def trace_metadata(headers: Headers) -> tuple[tuple[str, str], ...]:
    """Metadata for a gRPC call that carries the W3C trace context on; empty when there is none, or a malformed one."""
    traceparent = headers.get("traceparent", "")
    return (("traceparent", traceparent),) if TRACEPARENT.fullmatch(traceparent) else ()


def require_plain_coding(headers: Headers) -> None:
    """Refuse bodies in a content coding.

    Raises:
        UnsupportedMediaType: the body is compressed; what is stored and hashed must be what was meant.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType("Content-Encoding", f"{coding!r} is not read here; send the body as it is")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the caller prefers (source: RFC 7240).

    Attributes:
        respond_async: answer 202 rather than 504 when the result is not there in time.
        wait_ms: how long to wait for the result; 0 answers as soon as the task is accepted.
    """

    respond_async: bool
    wait_ms: int

    @classmethod
    def of(cls, headers: Headers, settings: Settings) -> Self:
        """Read every `Prefer` header; preferences that are unknown or malformed are passed over, as the RFC asks."""
        values = headers.getlist("prefer")
        if not values:
            return cls(respond_async=False, wait_ms=settings.wait_default_ms)
        wishes: dict[str, str] = {}
        for wish in ",".join(values).split(","):
            name, _, value = wish.partition(";")[0].partition("=")
            wishes.setdefault(name.strip().lower(), value.strip().strip('"'))
        respond_async = "respond-async" in wishes
        wait = wishes.get("wait", "")
        if wait.isascii() and wait.isdecimal():
            # Nine digits are more seconds than any limit; more of them would only cost time to convert.
            return cls(respond_async=respond_async, wait_ms=min(int(wait[:9]) * 1000, settings.wait_max_ms))
        return cls(respond_async=respond_async, wait_ms=0 if respond_async else settings.wait_default_ms)
