"""The way from somebody to a server, on which faults can be put. Whose proxy stands there, a scenario does not know."""

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from edgescale.errors import ConfigError
from edgescale.harness.chaos.toxic import Toxic

T = TypeVar("T", bound=Toxic)
_NAME = re.compile(r"[A-Za-z0-9._>-]{1,100}")
EXAMPLES = "redis://127.0.0.1:6379/0 or 127.0.0.1:50051"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a link leads.

    Attributes:
        url: as it was given, with a scheme or without.
        host: IPv6 without brackets.
        port: of the server.
    """

    url: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Read a URL, or `host:port` without one.

        Raises:
            ConfigError: it does not name one host and its port.
        """
        try:
            parts = urlsplit(url if "://" in url else f"//{url}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or not port or "," in host:
            # Without credentials.
            shown = url.rpartition("@")[2]
            raise ConfigError(f"target: must name one host and its port, such as {EXAMPLES}, not {shown!r}")
        return cls(url, host, port)

    @property
    def address(self) -> str:
        """The server's host and port."""
        return _joined(self.host, self.port)

    @property
    def speaks_resp(self) -> bool:
        """Whether requests and replies of Redis can be read on the way; those over TLS cannot."""
        return self.url.startswith("redis://")

    def by_way_of(self, host: str, port: int) -> str:
        """The URL with another address, with all else that it says: credentials, path, options."""
        scheme, found, rest = self.url.rpartition("://")
        netloc, slash, path = rest.partition("/")
        credentials, at, _ = netloc.rpartition("@")
        return f"{scheme}{found}{credentials}{at}{_joined(host, port)}{slash}{path}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Dose(Protocol):
    """A toxic that is in force."""

    async def change(self, toxic: Toxic) -> None:
        """Let the same fault go on with other numbers; what it has counted stays.

        Raises:
            ConfigError: this is another kind of fault, or another direction.
        """


class Link(Protocol):
    """A listener that everything goes through between somebody and a server.

    Attributes:
        host, port: where clients connect.
        url: the target's, with this host and port.
    """

    @property
    def host(self) -> str: ...  # noqa: D102 - see above

    @property
    def port(self) -> int: ...  # noqa: D102 - see above

    @property
    def url(self) -> str: ...  # noqa: D102 - see above

    def toxic(self, toxic: Toxic) -> AbstractAsyncContextManager[Dose]:
        """Put a fault in force for as long as the block lasts, on connections that are open and those to come.

        Faults add up.

        Raises:
            ConfigError: this link cannot have that fault.
            Unavailable: the proxy is away.
        """


class Links(Protocol):
    """Makes links, all of the same kind."""

    def link(self, name: str, target: str) -> AbstractAsyncContextManager[Link]:
        """A link for as long as the block lasts.

        Args:
            name: who goes that way to whom, such as `worker-1->redis`; no two links may share one.
            target: the URL of the server, or its `host:port`.

        Raises:
            ConfigError: the target is none, or the name is taken.
            Unavailable: the proxy is away.
        """


def checked_name(name: str) -> None:
    """See that a link can be called that.

    Raises:
        ConfigError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name: must be made of letters, digits and . _ - > as in worker-1->redis, not {name!r}")


def same_fault(one: T, other: Toxic) -> T:
    """The other toxic, once it is sure that it is a change of numbers only.

    Raises:
        ConfigError: it is more than that.
    """
    if not isinstance(other, type(one)) or getattr(one, "direction", None) != getattr(other, "direction", None):
        raise ConfigError(f"toxic: only the numbers of {one!r} can be changed, not to {other!r}")
    return other
