"""People who change a server's data and settings: they wait until they get in, and give back what they took."""

from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from edgescale.broker.keys import Keys
from edgescale.errors import BrokerUnavailable
from edgescale.harness.chaos import meddling, server_faults
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.plan import Fault, Option

if TYPE_CHECKING:
    from collections.abc import Sequence


class Operator:
    """A connection to a server that has one consumer, and lets nobody in for a while."""

    def __init__(self, *, away: int = 0) -> None:
        self.away = away
        self.done: list[Sequence[Any]] = []
        self.settings: dict[str, Any] = {"maxclients": b"640", "maxmemory": b"5000"}

    async def command(self, *args: Any) -> Any:
        self.away -= 1
        if self.away >= 0:
            raise BrokerUnavailable("max number of clients reached")
        self.done.append(args)
        if args[:2] == ("CONFIG", "SET"):
            self.settings[args[2]] = args[3]
        if args[:2] == ("CONFIG", "GET"):
            return [args[2].encode(), self.settings[args[2]]]
        return [[b"name", b"host-41-x", b"pending", 2]] if args[:2] == ("XINFO", "CONSUMERS") else b"OK"

    async def close(self) -> None:
        self.done.append(("close",))


class Stage(SimpleNamespace):
    """What faults see, with what was noted."""

    def __init__(self, operator: Operator) -> None:
        self.noted: list[tuple[str, str]] = []
        recorder = SimpleNamespace(note=lambda _, kind, what: self.noted.append((kind, what)))
        site = SimpleNamespace(lives={"worker-1": SimpleNamespace(pid=41)}, recorder=recorder)
        super().__init__(site=site, operator=operator, keys=Keys(1), server=SimpleNamespace(url="redis://h:1"))


def befalls(stage: Stage, name: str, target: str = "redis", **options: Option) -> Any:
    return asynccontextmanager(FAULTS[name].make)(stage, Fault(0, 0, name, target, options))  # type: ignore[arg-type] # as much of one as is used


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meddling, "POLL_S", 0.001)


async def test_who_deletes_a_consumer_waits_until_he_gets_in() -> None:
    stage = Stage(Operator(away=3))
    async with befalls(stage, "consumer_lost", "worker-1"):
        pass

    assert [args[1] for args in stage.operator.done if args[0] == "XGROUP"] == ["DELCONSUMER"] * 3
    assert stage.noted == [("lost", "groups")]


async def test_who_never_gets_in_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meddling, "PATIENCE_S", 0.01)
    stage = Stage(Operator(away=1_000_000))
    async with befalls(stage, "consumer_lost", "worker-1"):
        pass

    assert (stage.operator.done, stage.noted) == ([], [])


async def broken_off(operator: Operator, name: str, **options: Any) -> "tuple[dict[str, Any], Sequence[Any]]":
    """The settings while a fault lasted whose run was broken off, and what was done last until then."""
    seen: tuple[dict[str, Any], Sequence[Any]] = {}, ()
    with suppress(KeyboardInterrupt):
        async with befalls(Stage(operator), name, **options):
            seen = dict(operator.settings), operator.done[-1]
            raise KeyboardInterrupt
    return seen


@pytest.mark.parametrize(
    ("name", "options", "setting"),
    [("crowded", {"places": 3}, ("maxclients", 4)), ("refusing", {}, ("maxmemory", 1))],
)
async def test_settings_are_given_back_as_they_were_also_when_the_run_is_broken_off(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Option], setting: tuple[str, int]
) -> None:
    operator = Operator()
    monkeypatch.setattr(server_faults, "Connection", lambda *_, **__: operator)
    before = dict(operator.settings)

    meanwhile, _ = await broken_off(operator, name, **options)
    assert meanwhile == before | dict([setting])
    assert operator.settings == before


async def test_writes_go_on_when_the_run_is_broken_off() -> None:
    operator = Operator()

    assert (await broken_off(operator, "refusing", state="paused"))[1] == ("CLIENT", "PAUSE", 1, "WRITE")
    assert operator.done[-1] == ("CLIENT", "UNPAUSE")
