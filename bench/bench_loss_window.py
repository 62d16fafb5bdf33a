"""What a loss of power and a failover take under each durability profile, and what `strict` costs.

Power: a server under load is traced while it writes and syncs its append-only file. For each of --cuts random moments,
the part of the file that was synced by then is given to a new server; what had been acknowledged to a client by then
and is not there is lost. Failover: a server under load is killed, --kills times, and its replica takes over, once
beside it, once --distance-ms away. Price: submissions per second of both profiles, in turns, on the same two servers.
Exit status 1 when anything is lost that strict promises to keep. docs/durability.md has the figures.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from loss_servers import Disk, Load, ask, distance, stored

from edgescale.broker.connection import Connection
from edgescale.chance import SystemChance
from edgescale.local.valkey import EmbeddedValkey

CHANCE = SystemChance()
SENDERS = 16


@dataclass(frozen=True)
class Loss:
    """What one cut or kill took of what had been acknowledged: how many tasks, and how far back, in milliseconds."""

    tasks: int
    reach_ms: float

    @classmethod
    def of(cls, acknowledged: dict[str, float], kept: set[str], at_s: float) -> "Loss":
        """What was acknowledged by this moment, and is not kept."""
        lost = [when_s for name, when_s in acknowledged.items() if when_s <= at_s and name not in kept]
        return cls(len(lost), (at_s - min(lost)) * 1000 if lost else 0.0)


@dataclass(frozen=True)
class Row:
    """All losses of one kind."""

    what: str
    strict: bool
    times: int
    with_loss: int
    tasks_max: int
    reach_ms_p50: float
    reach_ms_p99: float
    reach_ms_max: float

    @classmethod
    def of(cls, what: str, losses: Sequence[Loss], *, strict: bool = False) -> "Row":
        """Summed up."""
        reaches = sorted(loss.reach_ms for loss in losses)
        return cls(
            what,
            strict,
            len(losses),
            sum(loss.tasks > 0 for loss in losses),
            max(loss.tasks for loss in losses),
            reaches[len(reaches) // 2],
            reaches[min(len(reaches) * 99 // 100, len(reaches) - 1)],
            reaches[-1],
        )


async def power(policy: str, seconds: float, cuts: int, folder: Path) -> Row:
    """Cut the power at random moments of a load."""
    server = EmbeddedValkey(folder / "server")
    await server.start()
    await ask(server, "CONFIG", "SET", "appendfsync", policy, "auto-aof-rewrite-percentage", "0")
    await ask(server, "SET", "first", "")
    # Until what was written so far is on disk.
    await asyncio.sleep(2.5)
    disk = Disk(server, folder / "trace")
    try:
        async with disk.traced(), Load(server.url, SENDERS).running() as load:
            await asyncio.sleep(seconds)
            acknowledged = dict(load.acknowledged)
    finally:
        await server.kill()
    steps = disk.synced()
    last_s = max(acknowledged.values())
    losses = []
    for _ in range(cuts):
        at_s = CHANCE.uniform(last_s - seconds + 1.5, last_s)
        synced = max(size_bytes for when_s, size_bytes in steps if when_s <= at_s)
        losses.append(Loss.of(acknowledged, await disk.survivors(synced, folder / "survivor"), at_s))
    return Row.of(f"power, appendfsync {policy}", losses, strict=policy == "always")


@asynccontextmanager
async def pair(folder: Path, port: int | None = None) -> AsyncIterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
    """A server and its replica, which follows it through another port where one is given."""
    primary, replica = EmbeddedValkey(folder / "primary", port=port), EmbeddedValkey(folder / "replica")
    try:
        await asyncio.gather(primary.start(), replica.start())
        await ask(primary, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
        yield primary, replica
    finally:
        await asyncio.gather(primary.kill(), replica.kill())


async def follow(primary: EmbeddedValkey, replica: EmbeddedValkey, port: int) -> None:
    """Have the replica follow, and wait until it acknowledges."""
    await ask(replica, "REPLICAOF", "127.0.0.1", port)
    connection = Connection(primary.url, timeout_ms=10_000, connections_max=1)
    await connection.command("SET", "first", "")
    while not await connection.command("WAIT", 1, 1_000):
        pass
    await connection.close()


async def kill(profile: str, delay_ms: float, folder: Path) -> Loss:
    """Kill a server under load, and have its replica take over."""
    async with pair(folder) as (primary, replica), distance(primary.port, delay_ms / 1000) as (port, cut):
        await ask(primary, "CONFIG", "SET", "appendfsync", "always" if profile == "strict" else "everysec")
        await follow(primary, replica, port if delay_ms else primary.port)
        async with Load(primary.url, SENDERS, profile).running() as load:
            await asyncio.sleep(CHANCE.uniform(0.5, 1.0))
            cut()
            await primary.kill()
            at_s = max(load.acknowledged.values())
        await ask(replica, "REPLICAOF", "NO", "ONE")
        return Loss.of(load.acknowledged, await stored(replica), at_s)


async def failover(profile: str, delay_ms: float, kills: int, folder: Path) -> Row:
    """Kill servers, one after the other."""
    losses = [await kill(profile, delay_ms, folder / f"{profile}-{delay_ms:.0f}-{number}") for number in range(kills)]
    where = f"replica {delay_ms:.0f} ms away" if delay_ms else "replica beside it"
    return Row.of(f"failover, {profile}, {where}", losses, strict=profile == "strict")


async def price(senders: int, seconds: float, rounds: int, folder: Path) -> list[float]:
    """Strict's submissions per second as a share of standard's, one figure a round."""
    ratios = []
    async with pair(folder) as (primary, replica):
        await follow(primary, replica, primary.port)
        for number in range(rounds):
            rates = {}
            # Who goes first takes turns, too.
            for profile in ["standard", "strict"][:: 1 if number % 2 else -1]:
                await ask(primary, "CONFIG", "SET", "appendfsync", "always" if profile == "strict" else "everysec")
                await ask(primary, "FLUSHALL")
                async with Load(primary.url, senders, profile).running() as load:
                    await asyncio.sleep(seconds)
                    rates[profile] = len(load.acknowledged) / seconds
            ratios.append(rates["strict"] / rates["standard"])
    return ratios


async def measure(options: argparse.Namespace) -> tuple[list[Row], dict[int, list[float]]]:
    """All of it."""
    rows, prices = [], {}
    with tempfile.TemporaryDirectory() as name:
        folders = (Path(name, str(number)) for number in count())
        for policy in ("everysec", "always"):
            folder = next(folders)
            folder.mkdir()
            rows.append(await power(policy, options.seconds, options.cuts, folder))
        for delay_ms in (0.0, options.distance_ms):
            rows += [
                await failover(profile, delay_ms, options.kills, next(folders)) for profile in ("standard", "strict")
            ]
        for senders in (1, 64):
            prices[senders] = await price(senders, options.round_seconds, options.rounds, next(folders))
    return rows, prices


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--distance-ms", type=float, default=50.0)
    parser.add_argument("--round-seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows, prices = asyncio.run(measure(options))
    kept = not any(row.with_loss for row in rows if row.strict)
    if options.json:
        print(json.dumps({"kept": kept, "rows": [asdict(row) for row in rows], "strict_to_standard": prices}))
        return 0 if kept else 1
    for row in rows:
        print(
            f"{row.what:<42} {row.with_loss:>3} of {row.times} lost something: {row.tasks_max:>5} tasks at most, "
            f"{row.reach_ms_p50:6.0f} ms back (p50), {row.reach_ms_p99:6.0f} ms (p99), {row.reach_ms_max:6.0f} ms (max)"
        )
    for senders, ratios in prices.items():
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"strict to standard, submissions per second, {senders:>2} at once: {spread}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
