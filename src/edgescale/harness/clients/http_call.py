"""What carries HTTP from a client to a gateway, be it real or simulated."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


class BrokenOff(TimeoutError):
    """The sender broke its body off, and listens no more."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete response; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpCall(Protocol):
    """Carries one request to a gateway."""

    async def __call__(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body_chunks: Iterable[bytes] = (),
        *,
        timeout_s: float | None = None,
        cut_after_bytes: int | None = None,
    ) -> HttpAnswer:
        """The response.

        Args:
            method: such as POST.
            path: with its query, both quoted.
            headers: sent as they are.
            body_chunks: pieces of the body, none of them empty; each is sent when the one before it was taken.
            timeout_s: None waits as long as it takes.
            cut_after_bytes: where the body breaks off, and the connection with it; None for not at all. A body that
                ends there is whole.

        Raises:
            Unavailable: nobody listens, or the connection was reset.
            BrokenOff: it was cut.
            TimeoutError: the deadline passed. Then, and when the caller is cancelled, the gateway sees a disconnect.
        """
