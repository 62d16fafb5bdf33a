"""The servers that tests run against: the embedded Valkey always, Debian's Redis and a given URL where they are."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from edgescale.broker.connection import Connection
from edgescale.local.child import bundled_binary
from edgescale.local.valkey import EmbeddedValkey

# Not named EDGESCALE_*: the services refuse settings that they do not know. What is stored there is flushed.
URL_VARIABLE = "TEST_REDIS_URL"
# One of the setups of tests.unrest, which all tests that share a server share instead; `nox -s NAME` does that.
INSTEAD_VARIABLE = "TEST_SERVERS"
INSTEAD = os.environ.get(INSTEAD_VARIABLE, "")


@dataclass(frozen=True)
class Server:
    """A server that serves; tests share it, one after the other."""

    name: str
    url: str

    async def flush(self) -> None:
        connection = Connection(self.url, timeout_ms=5_000)
        try:
            await connection.everywhere("FLUSHALL")
        finally:
            await connection.close()


def own_names() -> list[str]:
    """Names of the servers that can be started here, and therefore killed."""
    return ["valkey", *(["redis"] if shutil.which("redis-server") else [])]


def shared_names() -> list[str]:
    """Names of all servers that tests may share."""
    if INSTEAD:
        return [INSTEAD]
    return [*own_names(), *(["given"] if given_url() else [])]


def given_url() -> str:
    """URL of a server that somebody else runs for the tests; empty when there is none."""
    return os.environ.get(URL_VARIABLE, "")


def program(name: str) -> Path:
    """The program of a server that can be started here."""
    found = bundled_binary() if name == "valkey" else shutil.which("redis-server")
    assert found is not None
    return Path(found)


def own_server(name: str, data_dir: Path, kind: type[EmbeddedValkey] = EmbeddedValkey) -> EmbeddedValkey:
    """A server of the test's own, not started yet."""
    return kind(data_dir, binary=program(name))
