"""Looking into streams: XINFO."""

from edgescale.harness.simulation.redis.arguments import id_text
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import command
from edgescale.harness.simulation.redis.replies import Mapping, Reply, ReplyError
from edgescale.harness.simulation.redis.stream import Stream
from edgescale.harness.simulation.redis.stream_commands import shown
from edgescale.harness.simulation.redis.stream_groups import wrong_syntax


def _stream(client: Client, key: bytes) -> Stream:
    stream = client.keyspace.typed(key, Stream)
    if stream is None:
        raise ReplyError(b"ERR no such key")
    return stream


@command("xinfo|stream", -3)
def stream_info(client: Client, argv: list[bytes]) -> Reply:
    """XINFO STREAM key: its figures. The form FULL is not modelled; nodes and keys of its tree are made up."""
    stream = _stream(client, argv[2])
    if len(argv) > 3:  # noqa: PLR2004 - name, subcommand and key
        raise wrong_syntax(argv) if argv[3].upper() != b"FULL" else ReplyError(b"ERR not modelled: XINFO STREAM FULL")
    keys = stream.entries.keys
    ends = list(shown(stream, [keys[0], keys[-1]])) if keys else [None, None]
    figures: dict[bytes, Reply] = {
        b"length": len(keys),
        b"radix-tree-keys": 1,
        b"radix-tree-nodes": 2,
        b"last-generated-id": id_text(stream.last_id),
        b"max-deleted-entry-id": id_text(stream.max_deleted_id),
        b"entries-added": stream.entries_added,
        b"recorded-first-entry-id": id_text(stream.first_id),
        b"groups": len(stream.groups),
        b"first-entry": ends[0],
        b"last-entry": ends[1],
    }
    return _mapping(figures)


@command("xinfo|groups", 3)
def groups_info(client: Client, argv: list[bytes]) -> Reply:
    """XINFO GROUPS key: the figures of each group, by name."""
    stream = _stream(client, argv[2])
    return [
        _mapping(
            {
                b"name": name,
                b"consumers": len(group.consumers),
                b"pending": len(group.pending),
                b"last-delivered-id": id_text(group.last_id),
                b"entries-read": group.entries_read,
                b"lag": stream.lag(group, modern=client.model.flavour.modern),
            }
        )
        for name, group in sorted(stream.groups.items())
    ]


@command("xinfo|consumers", 4)
def consumers_info(client: Client, argv: list[bytes]) -> Reply:
    """XINFO CONSUMERS key group: the figures of each consumer, by name."""
    group = _stream(client, argv[2]).groups.get(argv[3])
    if group is None:
        raise ReplyError(b"NOGROUP No such consumer group '%b' for key name '%b'", argv[3], argv[2])
    now_ms = client.model.now_ms
    rows = []
    for name, consumer in sorted(group.consumers.items()):
        figures: dict[bytes, Reply] = {
            b"name": name,
            b"pending": len(consumer.pending),
            b"idle": max(now_ms - consumer.seen_ms, 0),
        }
        if client.model.flavour.modern:
            figures[b"inactive"] = -1 if consumer.active_ms is None else now_ms - consumer.active_ms
        rows.append(_mapping(figures))
    return rows


def _mapping(figures: dict[bytes, Reply]) -> Mapping:
    return Mapping([item for pair in figures.items() for item in pair])
