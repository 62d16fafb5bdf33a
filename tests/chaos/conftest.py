"""A real server, and links to it through both kinds of proxies."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from edgescale.broker.connection import Connection
from edgescale.errors import ConfigError
from edgescale.harness.chaos.fault_proxy import FaultProxies
from edgescale.harness.chaos.link import Links
from tests.servers import Server, own_server

if TYPE_CHECKING:
    from edgescale.harness.chaos.toxiproxy_api import ToxiproxyApi

# `required` makes it an error that there is none; a URL names one that runs.
TOXIPROXY = os.environ.get("TEST_TOXIPROXY", "")

SCENARIOS = frozenset({"test_scenarios.py", "test_runs.py"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and of that the runs of scenarios."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("chaos")
            if item.path.name in SCENARIOS:
                item.add_marker("scenario")


@contextmanager
def needed() -> Iterator[None]:
    """Where there is no Toxiproxy, skip with the reason, unless it is required."""
    try:
        yield
    except ConfigError as none:
        if TOXIPROXY == "required":
            raise
        pytest.skip(f"there is no Toxiproxy: {none}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """One server for all tests; use `server`, which is empty."""
    embedded = own_server("valkey", tmp_path_factory.mktemp("valkey"))
    await embedded.start()
    yield Server("valkey", embedded.url)
    await embedded.stop()


@pytest.fixture
async def server(valkey: Server) -> Server:
    """A server without data."""
    await valkey.flush()
    return valkey


@pytest.fixture
async def operator(server: Server) -> AsyncIterator[Connection]:
    """A connection to the server that no fault befalls."""
    connection = Connection(server.url, timeout_ms=5_000)
    yield connection
    await connection.close()


async def program() -> Path:
    """That of a Toxiproxy, found or built."""
    with needed():
        # Its client may be missing, and then these tests only have nothing to stand on.
        from edgescale.harness.chaos.toxiproxy_server import toxiproxy_program  # noqa: PLC0415

        return await toxiproxy_program()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def startable() -> None:
    """Another Toxiproxy can be started here."""
    await program()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def toxiproxy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator["ToxiproxyApi"]:
    """A Toxiproxy: the one that is given, or one of our own."""
    if "://" not in TOXIPROXY:
        await program()
    from edgescale.harness.chaos.toxiproxy_api import ToxiproxyApi  # noqa: PLC0415 - as above
    from edgescale.harness.chaos.toxiproxy_server import toxiproxy_served  # noqa: PLC0415 - as above

    if "://" in TOXIPROXY:
        yield ToxiproxyApi(TOXIPROXY)
        return
    async with toxiproxy_served(tmp_path_factory.mktemp("toxiproxy") / "log") as api:
        yield api


@pytest.fixture
def built_in(request: pytest.FixtureRequest) -> Links:
    """Links through built-in proxies, with the test's own seed."""
    return FaultProxies(request.node.name)


@pytest.fixture
def through_toxiproxy(toxiproxy: "ToxiproxyApi") -> Links:
    """Links through a Toxiproxy."""
    from edgescale.harness.chaos.toxiproxy import ToxiproxyLinks  # noqa: PLC0415 - as above

    return ToxiproxyLinks(toxiproxy)


@pytest.fixture(params=["built_in", "through_toxiproxy"])
def links(request: pytest.FixtureRequest) -> Links:
    """Links of each kind."""
    made: Links = request.getfixturevalue(request.param)
    return made
