"""A real server under test, whoever runs it: what a scenario asks of it, and what a report says of it."""

from dataclasses import dataclass
from typing import Literal, Protocol

from edgescale.broker.connection import Connection
from edgescale.harness.chaos.capabilities import Capability

Product = Literal["redis", "valkey"]
_TIMEOUT_MS = 5_000
# In a cluster, a command without a key is asked of the server that has this one.
_ANY_KEY = "any"


@dataclass(frozen=True, slots=True)
class Options:
    """How a server is to be.

    Attributes:
        product: None for the one that the provider was told, or has first.
        appendfsync: when its append-only file is synced.
        follows: the server, of the same provider, whose replica it is; None for a primary.
    """

    product: Product | None = None
    appendfsync: Literal["always", "everysec", "no"] = "always"
    follows: "Server | None" = None

    def settings(self) -> dict[str, str]:
        """What the server's own options are; it keeps everything that it was told, and evicts nothing."""
        settings = {
            "appendonly": "yes",
            "appendfsync": self.appendfsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "repl-diskless-sync-delay": "0",
        }
        if self.follows is not None:
            settings["replicaof"] = " ".join(host_and_port(self.follows))
        return settings


def host_and_port(primary: "Server") -> tuple[str, str]:
    """Where its replicas reach it, as REPLICAOF takes it."""
    host, _, port = primary.peer.rpartition(":")
    return host, port


def arguments(settings: dict[str, str]) -> list[str]:
    """Options as a server takes them on its command line."""
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


@dataclass(frozen=True, slots=True)
class Description:
    """What a server is, for people and for reports.

    Attributes:
        product: Redis or Valkey.
        version: as it says itself.
        provider: who runs it.
        origin: its image, the path of its program, or its URL without credentials.
        appendfsync: as it says itself; None where it does not let us ask.
    """

    product: str
    version: str
    provider: str
    origin: str
    appendfsync: str | None

    def __str__(self) -> str:
        """One line."""
        synced = self.appendfsync or "unknown"
        return f"{self.product} {self.version} ({self.origin}; provider {self.provider}, appendfsync {synced})"


class Server(Protocol):
    """A server that scenarios do things to, one at a time.

    What is done to one that does not run, or is done already, is done: nothing happens. Every verb raises ConfigError
    where its provider cannot do it (ask `capabilities` before), or where the server does not come back.
    """

    @property
    def url(self) -> str:
        """Where services reach it; the same for as long as it is."""

    @property
    def peer(self) -> str:
        """host:port at which it is reached by what its provider runs: replicas and Toxiproxy."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What can be done to it."""

    async def describe(self) -> Description:
        """What it is; it must be running.

        Raises:
            BrokerUnavailable: it does not answer.
        """

    async def start(self) -> None:
        """Start it for the first time, and return once it serves; a replica, once it keeps all that its primary has."""

    async def kill(self) -> None:
        """End it at once (SIGKILL), and return when it has ended. What is in its append-only file stays."""

    async def restart(self) -> None:
        """Start it again with its append-only file, and return once it serves; if it runs, it is told to end first."""

    async def restart_empty(self) -> None:
        """Kill it and start it again without data, and return once it serves."""

    async def pause(self) -> None:
        """Let it do nothing more, as SIGSTOP does; connections to it stay and are silent."""

    async def resume(self) -> None:
        """Let it go on."""

    async def follow(self, primary: "Server | None") -> None:
        """Make it a replica of another one, or a primary with what it has; it stays so when it is started again.

        Raises:
            BrokerUnavailable: it runs, and does not answer.
        """

    async def discard(self) -> None:
        """End it for good, data included."""


async def described(url: str, provider: str, origin: str) -> Description:
    """Ask the server at `url` what it is.

    Raises:
        BrokerUnavailable: it does not answer.
    """
    connection = Connection(url, timeout_ms=_TIMEOUT_MS, connections_max=1)
    try:
        facts = facts_of(await connection.command("INFO", "server", at=_ANY_KEY))
        [appendfsync, *_] = await connection.configured("appendfsync")
    finally:
        await connection.close()
    # Valkey goes on telling the Redis version that it is compatible with.
    product = "Valkey" if "valkey_version" in facts else "Redis"
    return Description(product, facts[f"{product.lower()}_version"], provider, origin, appendfsync)


async def serves(connection: Connection, *, as_replica: bool) -> bool:
    """Whether the server answers with its data loaded; a replica, with all of its primary's data, which it keeps."""
    facts = facts_of(await connection.command("INFO"))
    # While data is loaded, INFO is answered but little else.
    if facts["loading"] != "0":
        return False
    if not as_replica:
        return True
    # What a replica was sent is in its append-only file only when that is rewritten; before, it does not obey SIGTERM.
    rewriting = {facts["aof_rewrite_in_progress"], facts["aof_rewrite_scheduled"]}
    return facts.get("master_link_status") == "up" and rewriting == {"0"}


def facts_of(info: bytes) -> dict[str, str]:
    """The lines of INFO by their names."""
    pairs = (line.partition(":") for line in info.decode().splitlines())
    return {name: value for name, colon, value in pairs if colon}
