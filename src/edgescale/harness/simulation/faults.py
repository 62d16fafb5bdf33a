"""Faults: what the nemesis of a simulation can do. Each is an async generator: begin, yield while it lasts, heal.

To write one, decorate it with its number in the catalogue of faults (docs/simulation.md), what it may befall and how
long it lasts; its docstring is what people are shown. What it draws beforehand are its options: keep them small, so
that a plan can be read.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random  # noqa: TID251 - drawn from the simulation's seed
from typing import TYPE_CHECKING

from edgescale.broker.script import Script
from edgescale.harness.plan import Fault, Option
from edgescale.harness.simulation import rules
from edgescale.harness.simulation.watch import REDIS

if TYPE_CHECKING:
    from edgescale.harness.simulation.world import World

Make = Callable[["World", Fault], AsyncIterator[None]]
Choices = Mapping[str, Sequence[Option]]
MOMENT = (0, 0)
SERVICES = ("worker", "ingestion", "gateway")
EVERY_SERVICE = "services"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault.

    Attributes:
        number: in the catalogue.
        targets: what it may befall: first parts of names.
        lasts: bounds of its duration in milliseconds.
        options: each is one of these.
        noted: the nemesis writes down that it begins and ends; otherwise the world does, by an event of its own.
        make: does it.
    """

    number: int
    targets: tuple[str, ...]
    lasts: tuple[int, int]
    options: Choices
    noted: bool
    make: Make

    def draw(self, rng: Random, name: str, *, until_ms: int, targets: Sequence[str]) -> Fault:
        """A fault of this kind that begins before a time."""
        fitting = [target for target in targets if target.partition("-")[0] in self.targets]
        options = {option: rng.choice(values) for option, values in self.options.items()}
        return Fault(rng.randrange(until_ms), rng.randint(*self.lasts), name, rng.choice(fitting), options)


FAULTS: dict[str, FaultKind] = {}


def fault(
    number: int,
    *targets: str,
    lasts: tuple[int, int] = MOMENT,
    options: Choices | None = None,
    noted: bool = True,
) -> Callable[[Make], Make]:
    """Add a fault to those that plans are drawn from."""

    def add(make: Make) -> Make:
        FAULTS[make.__name__] = FaultKind(number, targets, lasts, options or {}, noted, make)
        return make

    return add


def number_of(fault: Fault, option: str) -> int:
    """An option that is a number."""
    return int(fault.options.get(option, 0))


def text_of(fault: Fault, option: str) -> str:
    """An option that is a word."""
    return str(fault.options.get(option, ""))


# --- the network ------------------------------------------------------------------------------------------------------


@fault(1, "worker", "ingestion", "gateway", lasts=(300, 5_000), options={"high_ms": [5, 50, 300]})
async def latency(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Everything takes longer, and some of it much longer."""
    high_s = number_of(fault, "high_ms") / 1000
    with world.network.rule(rules.delay((fault.target, "*"), 0, high_s, world.rng("latency"))):
        yield


@fault(2, *SERVICES, lasts=(300, 6_000))
async def black_hole(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Nothing arrives, and nobody is told."""
    with world.network.rule(rules.black_hole((fault.target, "*"))):
        yield


@fault(3, *SERVICES, lasts=(0, 2_000))
async def reset(world: "World", fault: Fault) -> AsyncIterator[None]:
    """All connections are reset, and new ones are refused for a while."""
    world.network.reset_all(fault.target)
    with world.network.rule(rules.refuse((fault.target, "*"))):
        yield


COMMANDS = ("submit", "settle", "renew", "give_back", "reclaim", "lookup", "locate", "cancel", "XREADGROUP", "any")


@fault(4, "worker", "ingestion", lasts=(500, 4_000), options={"command": COMMANDS, "times": [1, 1, 2, 3]})
async def reply_lost(world: "World", fault: Fault) -> AsyncIterator[None]:
    """A command is carried out, and the connection is cut before its reply."""
    aim = aimed_at(text_of(fault, "command"))
    with world.network.rule(rules.cut_after_command((fault.target, REDIS), aim, number_of(fault, "times"))):
        yield


@fault(5, "worker", "ingestion", lasts=(500, 4_000), options={"command": COMMANDS, "times": [1, 1, 2, 3]})
async def request_lost(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The connection is cut before a command arrives."""
    aim = aimed_at(text_of(fault, "command"))
    with world.network.rule(rules.lose_request((fault.target, REDIS), aim, number_of(fault, "times"))):
        yield


@fault(6, "worker", "ingestion", lasts=(300, 3_000), options={"bytes_per_s": [2_000, 20_000]})
async def slow_drip(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Bytes arrive a few at a time."""
    with world.network.rule(rules.slow_drip((fault.target, REDIS), number_of(fault, "bytes_per_s"))):
        yield


@fault(7, "worker", "ingestion", lasts=(300, 6_000), options={"way": ["there", "back"]})
async def one_way(world: "World", fault: Fault) -> AsyncIterator[None]:
    """One direction of a link is dead, the other one lives."""
    ends = (fault.target, REDIS) if text_of(fault, "way") == "there" else (REDIS, fault.target)
    with world.network.rule(rules.one_way(*ends)):
        yield


def aimed_at(command: str) -> Callable[[bytes], bool]:
    """Whether bytes that are sent to Redis hold a command of ours: a script, by its name, or a word; or any."""
    if command == "any":
        return lambda _: True
    word = command.encode() if command.isupper() else Script.load(command).sha.encode()
    return lambda data: word in data


# --- processes --------------------------------------------------------------------------------------------------------


@fault(8, "worker", lasts=(200, 4_000), options={"silent": [0, 0, 1]}, noted=False)
async def crash(world: "World", fault: Fault) -> AsyncIterator[None]:
    """A worker is killed, or its whole machine is gone; it is started again later."""
    node = world.node(fault.target)
    world.crash(node, silent=bool(number_of(fault, "silent")))
    yield
    world.start_again(node)


@fault(11, "ingestion", "gateway", lasts=(200, 3_000), options={"silent": [0, 0, 1]}, noted=False)
async def door_crash(world: "World", fault: Fault) -> AsyncIterator[None]:
    """What callers wait at is killed."""
    node = world.node(fault.target)
    world.crash(node, silent=bool(number_of(fault, "silent")))
    yield
    world.start_again(node)


@fault(9, *SERVICES, lasts=(0, 1_000), noted=False)
async def stop(world: "World", fault: Fault) -> AsyncIterator[None]:
    """A service is asked to stop, as in a deployment, and started again."""
    node = world.node(fault.target)
    await world.stop(fault.target)
    yield
    world.start_again(node)


@fault(9, EVERY_SERVICE, noted=False)
async def rolling(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Every service is stopped and started in turn, as in an upgrade."""
    del fault
    for name in list(world.services):
        node = world.node(name)
        await world.stop(name)
        world.start_again(node)
        await asyncio.sleep(0.3)
    yield


@fault(10, "worker", lasts=(2_500, 8_000), noted=False)
async def pause(world: "World", fault: Fault) -> AsyncIterator[None]:
    """A process stands still for longer than a lease, and goes on as if nothing had been."""
    node = world.node(fault.target)
    paused = world.pause(node)
    yield
    if paused:
        world.resume(node)


@fault(21, *SERVICES, lasts=(20, 1_200), noted=False)
async def stall(world: "World", fault: Fault) -> AsyncIterator[None]:
    """A process stands still for less than a lease, as when something blocks its loop."""
    node = world.node(fault.target)
    paused = world.pause(node)
    yield
    if paused:
        world.resume(node)


@fault(17, *SERVICES, lasts=(1_000, 5_000), options={"jump_ms": [-600_000, -3_000, 3_000, 600_000]})
async def clock(world: "World", fault: Fault) -> AsyncIterator[None]:
    """A service's clock is wrong for a while."""
    chance = world.services[fault.target].chance
    chance.wall_offset_ms += number_of(fault, "jump_ms")
    yield
    chance.wall_offset_ms -= number_of(fault, "jump_ms")
