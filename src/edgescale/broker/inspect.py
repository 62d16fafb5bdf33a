"""Looking at the broker from outside: is it fit to start on, and how full are its lanes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgescale.broker.address import EXAMPLES, Address
from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.durability import check_durability
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.model import accepted_ms
from edgescale.config import Settings
from edgescale.errors import ConfigError, GroupMissing, InternalError
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

REDIS_MAJOR_MIN = 7


async def check_server(connection: Connection, settings: Settings) -> None:
    """Refuse a server that would lose tasks; in a cluster, each primary is asked.

    Raises:
        ConfigError: a server is too old, may evict keys to make room, is not what the URL says, or keeps less than the
            durability profile says.
        BrokerUnavailable: Redis is away.
    """
    replies = [_facts(reply.decode()) for reply in await connection.everywhere("INFO")]
    for info in replies:
        _check_mode(connection.url, info)
        _check_fitness(info, settings)
    policies = [] if settings.durability == "none" else await connection.configured("appendfsync")
    for info in replies:
        check_durability(info, policies, settings)
    keys = Keys(settings.partitions)
    homes = {await connection.home(keys.dead(partition)) for partition in range(keys.partitions)}
    if len(homes) < len(replies):
        get_log().warning(Event.PRIMARIES_IDLE, primaries=len(replies), used=len(homes), partitions=keys.partitions)


def _facts(reply: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)


def _check_mode(url: str, info: Mapping[str, str]) -> None:
    # Valkey has a name of its own for it.
    if "sentinel" in {info.get("redis_mode"), info.get("server_mode")}:
        raise ConfigError(
            f"redis_url: this is a sentinel, and the URL is that of one server; write {EXAMPLES['sentinel']}"
        )
    clustered = info.get("cluster_enabled") == "1"
    if clustered and Address.parse(url).mode != "cluster":
        raise ConfigError(
            f"redis_url: the server is a node of a cluster, and the URL is not; write {EXAMPLES['cluster']}, and set "
            "EDGESCALE_PARTITIONS to several for each primary"
        )


def _check_fitness(info: Mapping[str, str], settings: Settings) -> None:
    version = info.get("redis_version", "0")
    if int(version.partition(".")[0]) < REDIS_MAJOR_MIN:
        raise ConfigError(f"redis_url: the server is Redis {version}; 7.0 or later, or Valkey 8 or later, is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and not settings.allow_eviction:
        raise ConfigError(
            f"redis_url: the server's maxmemory-policy is {policy}, which drops tasks without a word when memory is "
            "short; set it to noeviction, or set EDGESCALE_ALLOW_EVICTION=true if losing tasks is acceptable"
        )


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """One consumer of a lane: entries it holds, and milliseconds since it last read or claimed."""

    name: str
    running: int
    idle_ms: int


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane over all partitions; `oldest_age_ms` is None when nothing is queued or running."""

    name: str
    backlog: int
    running: int
    cap: int
    oldest_age_ms: int | None
    consumers: Sequence[ConsumerStatus]


class LaneInspector:
    """Figures of lanes, for people and autoscalers.

    Args:
        connection: to the server.
        keys: names of everything there.
        settings: caps.
    """

    def __init__(self, connection: Connection, keys: Keys, settings: Settings) -> None:
        self._connection = connection
        self._keys = keys
        self._settings = settings

    async def lanes(self, names: Iterable[str]) -> list[LaneStatus]:
        """The state of each lane, by name.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        # Of each partition by itself: its server's clock stamps its entries.
        now_ms = [await self._connection.now_ms(self._keys.dead(at)) for at in range(self._keys.partitions)]
        return [await self._lane(name, now_ms) for name in sorted(names)]

    async def _lane(self, name: str, now_ms: Sequence[int]) -> LaneStatus:
        backlog = 0
        ages_ms: list[int] = []
        consumers: dict[str, ConsumerStatus] = {}
        for partition in range(self._keys.partitions):
            stream = self._keys.stream(partition, name)
            for each in self._keys.backlog(partition, name):
                backlog += int(await self._connection.command("XLEN", each))
                first = await self._connection.command("XRANGE", each, "-", "+", "COUNT", 1)
                ages_ms += [now_ms[partition] - accepted_ms(entry.decode(), flat_dict(flat)) for entry, flat in first]
            for consumer in await self._consumers(stream):
                known = consumers.get(consumer.name, consumer)
                running = consumer.running + (known.running if known is not consumer else 0)
                idle_ms = min(consumer.idle_ms, known.idle_ms)
                consumers[consumer.name] = ConsumerStatus(consumer.name, running, idle_ms)
        return LaneStatus(
            name=name,
            backlog=backlog,
            running=sum(consumer.running for consumer in consumers.values()),
            cap=self._settings.cap_of(name),
            oldest_age_ms=max(0, *ages_ms) if ages_ms else None,
            consumers=[consumers[consumer] for consumer in sorted(consumers)],
        )

    async def _consumers(self, stream: str) -> list[ConsumerStatus]:
        try:
            rows = await self._connection.command("XINFO", "CONSUMERS", stream, GROUP)
        except (GroupMissing, InternalError):
            # The stream does not exist yet: nobody has ever used this lane.
            return []
        found = [flat_dict(row) for row in rows]
        return [ConsumerStatus(row[b"name"].decode(), int(row[b"pending"]), int(row[b"idle"])) for row in found]
