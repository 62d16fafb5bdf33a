"""Servers and the broker's parts, for tests against real servers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.inbox import Inbox
from edgescale.broker.keys import Keys
from edgescale.chance import SystemChance
from edgescale.config import Settings
from edgescale.local.valkey import EmbeddedValkey
from tests.clusters import clustered
from tests.servers import Server, given_url, own_names, own_server, shared_names
from tests.support import Rig, open_rig, serving


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each kind of server for all tests that share one; a cluster, too, for those that say so."""
    if "shared_server" in metafunc.fixturenames:
        import os
        names = ["cluster"] if os.environ.get("TRY") else shared_names()
        metafunc.parametrize("shared_server", names, indirect=True, scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """Each kind of server once for all tests; use `server`, which is empty."""
    if request.param == "given":
        yield Server("given", given_url())
        return
    if request.param == "cluster":
        async with clustered(tmp_path_factory.mktemp("cluster"), "valkey") as cluster:
            yield Server("cluster", cluster.url)
        return
    embedded = own_server(request.param, tmp_path_factory.mktemp(request.param))
    await embedded.start()
    yield Server(request.param, embedded.url)
    await embedded.stop()


@pytest.fixture
async def server(shared_server: Server) -> Server:
    """A server without data. Tests must not stop it or change its configuration; see `private_server`."""
    await shared_server.flush()
    return shared_server


@pytest.fixture(params=own_names())
async def private_server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A server of the test's own, to be killed, flushed, configured and restarted at will."""
    if request.param == "cluster":
        async with clustered(tmp_path_factory.mktemp("cluster"), "valkey") as cluster:
            yield Server("cluster", cluster.url)
        return
    embedded = own_server(request.param, tmp_path / "server")
    await embedded.start()
    yield embedded
    await embedded.stop()


@pytest.fixture
async def rig(server: Server) -> AsyncIterator[Rig]:
    """Settings, connection, keys and broker on the shared server; for other settings see `open_rig`."""
    async with open_rig(server.url) as opened:
        yield opened


@pytest.fixture
def settings(rig: Rig) -> Settings:
    """Settings that name the shared server."""
    return rig.settings


@pytest.fixture
def chance(rig: Rig) -> SystemChance:
    """The machine's own chance."""
    return rig.chance


@pytest.fixture
def connection(rig: Rig) -> Connection:
    """A connection to the shared server."""
    return rig.connection


@pytest.fixture
def keys(rig: Rig) -> Keys:
    """Names on the shared server."""
    return rig.keys


@pytest.fixture
def broker(rig: Rig) -> Broker:
    """A broker on the shared server."""
    return rig.broker


@pytest.fixture
async def inbox(rig: Rig) -> AsyncIterator[Inbox]:
    """A running inbox on the shared server."""
    async with serving(rig.inbox()) as running:
        yield running
