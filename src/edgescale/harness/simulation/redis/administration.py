"""Commands on the server itself: INFO, TIME and the like."""

from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import LOADING, STALE, command
from edgescale.harness.simulation.redis.replies import Reply, ReplyError, Text

_US_PER_S = 1_000_000
_PORT = 6380


@command("time", 1, LOADING | STALE)
def time(client: Client, _argv: list[bytes]) -> Reply:
    """TIME: seconds since 1970, and microseconds beyond."""
    seconds, microseconds = divmod(client.model.wall_us, _US_PER_S)
    return [b"%d" % seconds, b"%d" % microseconds]


@command("command", -1, LOADING | STALE)
def command_(_client: Client, argv: list[bytes]) -> Reply:
    """COMMAND: not listed here; COMMAND COUNT and the like are not modelled."""
    if len(argv) > 1:
        raise ReplyError(b"ERR not modelled: COMMAND %b" % argv[1])
    return []


@command("info", -1, LOADING | STALE)
def info(client: Client, argv: list[bytes]) -> Reply:
    """INFO [section ...]: the figures that EdgeScale and its tests read."""
    model = client.model
    blocked = sum(session.blocked is not None for session in model.sessions.values())
    sections: dict[str, dict[str, object]] = {
        "server": {
            "redis_version": model.flavour.redis_version,
            "server_name": model.flavour.name,
            f"{model.flavour.name}_version": model.flavour.version,
            "process_id": model.process_id,
            "run_id": f"{model.process_id:040x}",
            "uptime_in_seconds": (model.log.now_us - model.started_us) // _US_PER_S,
        },
        "clients": {"connected_clients": len(model.sessions), "blocked_clients": blocked},
        "memory": {
            "used_memory": model.used_memory(),
            "maxmemory": model.faults.maxmemory_bytes,
            "maxmemory_policy": model.maxmemory_policy,
        },
        "persistence": {"loading": int(model.faults.loading), "aof_enabled": int(model.log.enabled)},
        "replication": {
            "role": "slave" if model.faults.read_only else "master",
            "connected_slaves": model.replicas,
            **{
                f"slave{number}": f"ip=127.0.0.1,port={_PORT + number},state=online,offset=0,lag=0"
                for number in range(model.replicas)
            },
            "master_link_status": "down" if model.faults.master_down else "up",
        },
        "commandstats": {f"cmdstat_{name}": f"calls={calls}" for name, calls in sorted(model.calls.items())},
        "keyspace": {"db0": f"keys={len(model.keyspace.values)},expires={len(model.keyspace.deadlines)}"},
    }
    wanted = {word.decode("latin-1").lower() for word in argv[1:]}
    if not wanted or wanted & {"default"}:
        wanted |= sections.keys() - {"commandstats"}
    if wanted & {"all", "everything"}:
        wanted |= sections.keys()
    return Text("\r\n".join(_section(name, sections[name]) for name in sections if name in wanted).encode())


def _section(name: str, figures: dict[str, object]) -> str:
    return f"# {name.capitalize()}\r\n" + "".join(f"{figure}:{value}\r\n" for figure, value in figures.items())
