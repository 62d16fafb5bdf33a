"""Servers and the broker's parts, for tests against real servers."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.inbox import Inbox
from edgescale.broker.keys import Keys
from edgescale.chance import SystemChance
from edgescale.config import Settings
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.providers import Choice, choose
from edgescale.harness.chaos.server import Options, Product
from edgescale.local.valkey import EmbeddedValkey
from tests.leaks import leaked
from tests.servers import (
    INSTEAD,
    INSTEAD_VARIABLE,
    URL_VARIABLE,
    Server,
    given_url,
    own_names,
    own_server,
    shared_names,
)
from tests.support import Rig, open_rig, serving
from tests.unrest import DONE, SETUPS, at_rest, outlive, shared

assert INSTEAD in {"", *SETUPS}, f"{INSTEAD_VARIABLE} must be one of {[*SETUPS]}"


def pytest_make_parametrize_id(argname: str) -> str | None:
    """Where all tests share one setup, those that name a server do, too."""
    return INSTEAD if argname == "shared_server" and INSTEAD else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that share a server run on each kind, and on a cluster where they say so, unless they name theirs."""
    named = any(mark.args[0] == "shared_server" for mark in metafunc.definition.iter_markers("parametrize"))
    if "shared_server" in metafunc.fixturenames and not named:
        more = ["cluster"] if metafunc.definition.get_closest_marker("everywhere") and not INSTEAD else []
        names = list(dict.fromkeys([*provided_names(metafunc.config), *more]))
        metafunc.parametrize("shared_server", names, indirect=True, scope="session")


def provided_names(config: pytest.Config) -> list[str]:
    """Names of the servers that tests share: all that there are, or those of the provider that is asked for by name."""
    choice: Choice = config.getoption("provider")
    if choice.name == "auto":
        return shared_names()
    return [choice.product] if choice.product else own_names() if choice.name == "native" else ["valkey", "redis"]


def check_provider(config: pytest.Config) -> None:
    """See that the tests may share the servers of the provider.

    Raises:
        pytest.UsageError: they may not.
    """
    choice: Choice = config.getoption("provider")
    if choice.name == "url":
        raise pytest.UsageError(f"tests/integration flushes all databases of a server: name it with {URL_VARIABLE}")
    if choice.name != "auto" and INSTEAD:
        raise pytest.UsageError(f"{INSTEAD_VARIABLE}={INSTEAD} is made of local processes: leave out --provider")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where all tests share one setup, those that share none are left out, and those on a cluster where it is none."""
    check_provider(config)
    if not INSTEAD:
        return
    left_out = [item for item in items if not may_share(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def may_share(item: pytest.Item) -> bool:
    """Whether a test may share the setup."""
    call = getattr(item, "callspec", None)
    named = call.params.get("shared_server") if call is not None else None
    return named is not None and (named != "cluster" or INSTEAD != "sentinel")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What has become of the servers."""
    for what, count in DONE.items():
        terminalreporter.line(f"{what}: {count}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider | None]:
    """What `--provider` names; None where it is left out."""
    choice: Choice = request.config.getoption("provider")
    if choice.name == "auto":
        yield None
        return
    async with (await choose(choice)).provider as entered:
        yield entered


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, provider: Provider | None
) -> AsyncIterator[Server]:
    """Each kind of server once for all tests; use `server`, which is empty."""
    name = INSTEAD or request.param
    if name == "given":
        yield Server(name, given_url())
        return
    if name in SETUPS:
        async with shared(name, tmp_path_factory.mktemp(name)) as setup:
            yield setup
        return
    if provider is not None:
        # A test that names a kind of server takes the other one where that is asked for.
        product = cast("Product", request.config.getoption("provider").product or name)
        provided = await provider.server(Options(product=product))
        yield Server(product, provided.url)
        await provided.discard()
        return
    embedded = own_server(name, tmp_path_factory.mktemp(name))
    await embedded.start()
    yield Server(name, embedded.url)
    await embedded.stop()


@pytest.fixture(autouse=True)
def as_fits_many_servers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster a test has several partitions, or one where it says so, or is skipped with the reason it gives."""
    if "shared_server" not in request.fixturenames or request.getfixturevalue("shared_server").name not in SETUPS:
        return
    if unfit := request.node.get_closest_marker("one_server"):
        pytest.skip(unfit.args[0])
    if request.node.get_closest_marker("one_partition"):
        monkeypatch.setattr(Rig, "cluster_partitions", 1)


@pytest.fixture
async def server(request: pytest.FixtureRequest, shared_server: Server) -> AsyncIterator[Server]:
    """A server without data. Tests must not stop it or change its configuration; see `private_server`.

    A test that leaves a key behind that neither expires nor is kept for a reason fails.
    """
    await shared_server.flush()
    async with at_rest(shared_server) if request.node.get_closest_marker("slots_stay") else nullcontext():
        yield shared_server
    async with open_rig(shared_server.url) as rig:
        assert await leaked(rig) == [], "these keys would stay for ever; tests.leaks says what may"


@pytest.fixture(params=own_names())
async def private_server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A server of the test's own, to be killed, flushed, configured and restarted at will."""
    embedded = own_server(request.param, tmp_path / "server")
    await embedded.start()
    yield embedded
    await embedded.stop()


@pytest.fixture
async def rig(server: Server) -> AsyncIterator[Rig]:
    """Settings, connection, keys and broker on the shared server; for other settings see `open_rig`."""
    async with open_rig(server.url) as opened:
        await outlive(server, opened)
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
