"""Where Redis is, as `redis_url` says it: one server, the nodes of a cluster, or the sentinels of a primary."""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from edgescale.errors import ConfigError

Mode = Literal["single", "cluster", "sentinel"]
EXAMPLES: dict[Mode, str] = {
    "single": "redis://127.0.0.1:6379/0",
    "cluster": "redis+cluster://10.0.0.1:6379,10.0.0.2:6379",
    "sentinel": "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/primary",
}
_SCHEME = re.compile(r"(rediss?)\+(cluster|sentinel)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::(\d{1,5}))?")
_PORTS: dict[Mode, int] = {"cluster": 6379, "sentinel": 26379}
_PORT_MAX = 65535


class Node(NamedTuple):
    """One server, by the host (IPv6 without brackets) and the port that it is reached at."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Address:
    """What `redis_url` says.

    Attributes:
        mode: what is reached there.
        nodes: of a cluster, those that are asked first; with Sentinel, the sentinels.
        primary: the name that the sentinels know it by.
        url: of one server, as it was given; elsewhere it lacks host and port, see `url_of`.
    """

    mode: Mode
    url: str
    nodes: tuple[Node, ...] = ()
    primary: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a URL; that of one server is left to redis-py.

        Raises:
            ConfigError: a URL of a cluster or of sentinels that is none; an example is shown.
        """
        parts = urlsplit(url)
        scheme = _SCHEME.fullmatch(parts.scheme)
        if scheme is None:
            return cls("single", url)
        mode: Mode = "cluster" if scheme[2] == "cluster" else "sentinel"
        try:
            return cls._parse(mode, scheme[1], parts)
        except ValueError as error:
            raise ConfigError(f"redis_url: {error}; an example is {EXAMPLES[mode]}") from error

    @classmethod
    def _parse(cls, mode: Mode, scheme: str, parts: SplitResult) -> "Address":
        credentials, at, hosts = parts.netloc.rpartition("@")
        nodes = tuple(_node(host, _PORTS[mode]) for host in hosts.split(","))
        path = parts.path.removeprefix("/")
        primary, _, database = ("", "", path) if mode == "cluster" else path.partition("/")
        if mode == "cluster" and database not in {"", "0"}:
            raise ValueError(f"a cluster has database 0 only, not {database!r}")
        if mode == "sentinel" and not primary:
            raise ValueError("the name of the primary must follow the sentinels")
        if database and not database.isdecimal():
            raise ValueError(f"the database must be a number, not {database!r}")
        query = f"?{parts.query}" if parts.query else ""
        return cls(mode, f"{scheme}://{credentials}{at}%s/{database or 0}{query}", nodes, primary)

    def url_of(self, node: Node) -> str:
        """The URL of one node of a cluster, with the credentials and options of all."""
        host = f"[{node.host}]" if ":" in node.host else node.host
        before, _, behind = self.url.rpartition("%s")
        return f"{before}{host}:{node.port}{behind}"


def _node(text: str, port: int) -> Node:
    found = _HOST.fullmatch(text)
    if found is None or int(found[2] or port) > _PORT_MAX:
        raise ValueError(f"{text!r} is not host:port")
    return Node(found[1].strip("[]"), int(found[2] or port))
