"""One scenario, two proxies: what a client, the server and a bystander see of a fault is the same through both."""

from dataclasses import dataclass
from typing import Any

import pytest

from edgescale.broker.connection import Connection
from edgescale.errors import ConfigError, EdgeScaleError
from edgescale.harness.chaos.effects_on_commands import ON_COMMANDS
from edgescale.harness.chaos.link import Links
from edgescale.harness.chaos.toxic import Toxic
from edgescale.harness.chaos.toxics import (
    Bandwidth,
    BlackHole,
    HalfOpen,
    Latency,
    LimitBytes,
    MessageLoss,
    Refused,
    Reset,
    ResetInBatch,
    SlowDrip,
    Stall,
)
from tests.chaos.linked import LONG_MS, counted, linked, raw
from tests.servers import Server

pytestmark = pytest.mark.timeout(1_000)


@dataclass(frozen=True)
class Observation:
    """What was seen.

    Attributes:
        reply: of a command that was sent under the fault, or the error in its place.
        executed: how often the server carried that out.
        newcomer: what a connection saw that was made under the fault: bytes, and how it ended.
        healed: the reply to the same command after the heal.
    """

    reply: Any
    executed: int
    newcomer: tuple[bytes, str]
    healed: Any


async def outcome(connection: Connection) -> Any:
    try:
        return await connection.command("INCR", "n")
    except EdgeScaleError as error:
        return type(error).__name__


async def observe(links: Links, server: Server, operator: Connection, toxic: Toxic, *, ends: bool) -> Observation:
    """Send commands before, under and after a fault.

    Args:
        links: of one kind.
        server: with `n` yet to be counted.
        operator: sees what the server does.
        toxic: the fault.
        ends: it ends connections by itself; others are looked at after the heal.
    """
    await server.flush()
    async with linked(links, server.url, timeout_ms=400) as client:
        async with client.link.toxic(toxic):
            reply = await outcome(client.connection)
            executed = await counted(operator)
            newcomer = await seen_by_a_newcomer(client.link) if ends else (b"", "")
        if not ends:
            newcomer = await seen_by_a_newcomer(client.link)
        await operator.command("DEL", "n")
        return Observation(reply, executed, newcomer, await outcome(client.connection))


async def seen_by_a_newcomer(link: Any) -> tuple[bytes, str]:
    try:
        async with raw(link) as connection:
            connection.send("PING", "ECHO abc")
            return await connection.story(len(b"+PONG\r\n$3\r\nabc\r\n"))
    except ConnectionRefusedError:
        return b"", "refused"


ANSWERED = b"+PONG\r\n$3\r\nabc\r\n"
AWAY = "BrokerUnavailable"
SCENARIOS = [
    (Latency(1), False, Observation(1, 1, (ANSWERED, "open"), 1)),
    (Latency(LONG_MS), False, Observation(AWAY, 1, (ANSWERED, "open"), 1)),
    (Bandwidth(1_000), False, Observation(1, 1, (ANSWERED, "open"), 1)),
    (SlowDrip(2, 1, 50), False, Observation(1, 1, (ANSWERED, "open"), 1)),
    (SlowDrip(3, pause_us=LONG_MS * 1_000), False, Observation(AWAY, 1, (ANSWERED, "open"), 1)),
    (BlackHole(), False, Observation(AWAY, 1, (ANSWERED, "open"), 1)),
    (BlackHole(direction="upstream"), False, Observation(AWAY, 0, (ANSWERED, "open"), 1)),
    (Reset(), True, Observation(AWAY, 1, (b"", "reset"), 1)),
    (Reset(direction="upstream"), True, Observation(AWAY, 0, (b"", "reset"), 1)),
    (LimitBytes(3), True, Observation(AWAY, 1, (ANSWERED[:3], "closed"), 1)),
    (LimitBytes(0), True, Observation(AWAY, 1, (b"", "closed"), 1)),
    (LimitBytes(3, direction="upstream"), True, Observation(AWAY, 0, (b"", "closed"), 1)),
    (LimitBytes(1_000), False, Observation(1, 1, (ANSWERED, "open"), 1)),
    (Refused(), True, Observation(AWAY, 0, (b"", "refused"), 1)),
]


@pytest.mark.parametrize(("toxic", "ends", "expected"), SCENARIOS, ids=[str(row[0]) for row in SCENARIOS])
async def test_a_fault_looks_the_same_through_both_proxies(
    built_in: Links,
    through_toxiproxy: Links,
    server: Server,
    operator: Connection,
    toxic: Toxic,
    *,
    ends: bool,
    expected: Observation,
) -> None:
    ours = await observe(built_in, server, operator, toxic, ends=ends)
    theirs = await observe(through_toxiproxy, server, operator, toxic, ends=ends)

    assert ours == theirs == expected


BEYOND: list[Toxic] = [HalfOpen(), Stall(), ResetInBatch(1), MessageLoss(0.5)]
BEYOND += [kind() for kind in ON_COMMANDS if kind.__name__ in {"ExecuteThenCut", "RequestLost"}]


@pytest.mark.parametrize("toxic", BEYOND, ids=str)
async def test_what_only_the_built_in_proxy_has_is_refused_by_toxiproxy(
    built_in: Links, through_toxiproxy: Links, server: Server, toxic: Toxic
) -> None:
    async with linked(built_in, server.url) as client, client.link.toxic(toxic):
        pass
    async with linked(through_toxiproxy, server.url) as client:
        with pytest.raises(ConfigError, match=f"{type(toxic).__name__} is beyond Toxiproxy"):
            async with client.link.toxic(toxic):
                pass
        assert await client.connection.command("PING") == b"PONG"
