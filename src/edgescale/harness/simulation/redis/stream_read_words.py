"""The words of XREAD and XREADGROUP."""

import functools
from dataclasses import dataclass

from edgescale.harness.simulation.redis.arguments import SYNTAX, integer, timeout_ms
from edgescale.harness.simulation.redis.replies import ReplyError

_GROUP_ONLY = b"ERR The %b option is only supported by XREADGROUP. You called XREAD instead."


@dataclass(slots=True)
class Read:
    """What one XREAD or XREADGROUP asks for; not to be changed, as it is shared by all that ask the same.

    Attributes:
        group: its name, None for XREAD.
        consumer: empty for XREAD.
        count: entries of each stream at most, 0 for all.
        block_ms: how long to wait, 0 for ever, None for not at all.
        noack: what is read does not become pending.
        keys: of the streams.
        ids: as they were given, one for each stream; `$` gives way to what it stood for before the reader blocks.
    """

    group: bytes | None = None
    consumer: bytes = b""
    count: int = 0
    block_ms: int | None = None
    noack: bool = False
    keys: tuple[bytes, ...] = ()
    ids: tuple[bytes, ...] = ()


# Pollers ask the same over and over.
@functools.lru_cache(maxsize=1024)
def parse(argv: tuple[bytes, ...], *, grouped: bool, modern: bool, may_block: bool) -> Read:
    """What is asked for.

    Args:
        argv: the command.
        grouped: whether it is XREADGROUP.
        modern: as the flavour has it.
        may_block: whether BLOCK may be said, be it in vain.

    Raises:
        ReplyError: the words make no sense.
    """
    read = Read()
    at = 1
    while at < len(argv) and not read.keys:
        word, values = argv[at].upper(), argv[at + 1 :]
        if (word == b"NOACK" or (word == b"GROUP" and len(values) > 1)) and not grouped:
            raise ReplyError(_GROUP_ONLY % word)
        if word == b"BLOCK" and values and not may_block:
            raise ReplyError(b"ERR %b command is not allowed with BLOCK option from scripts" % argv[0])
        if word == b"STREAMS" and len(values) % 2:
            raise ReplyError(_unbalanced(argv[0], grouped=grouped, modern=modern))
        at += 1 + _take_option(read, word, values)
    if not read.keys:
        raise ReplyError(SYNTAX)
    if grouped and read.group is None:
        raise ReplyError(b"ERR Missing GROUP option for XREADGROUP")
    return read


def _take_option(read: Read, word: bytes, values: tuple[bytes, ...]) -> int:
    """Note one option; says how many words after it belong to it."""
    if word == b"NOACK":
        read.noack = True
        return 0
    if word == b"COUNT" and values:
        read.count = max(integer(values[0]), 0)
        return 1
    if word == b"BLOCK" and values:
        read.block_ms = timeout_ms(values[0])
        return 1
    if word == b"GROUP" and len(values) > 1:
        read.group, read.consumer = values[:2]
        return 2
    if word == b"STREAMS":
        half = len(values) // 2
        read.keys, read.ids = values[:half], values[half:]
        return len(values)
    raise ReplyError(SYNTAX)


def _unbalanced(name: bytes, *, grouped: bool, modern: bool) -> bytes:
    what = b"XREAD list of streams: for each stream key an ID or '$'"
    if modern:
        what = b"'%b' list of streams: for each stream key an ID or '%b'" % (name.lower(), b">" if grouped else b"$")
    return b"ERR Unbalanced " + what + b" must be specified."
