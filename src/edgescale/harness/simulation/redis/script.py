"""One script: its first line, and what that lets it do."""

from dataclasses import dataclass
from typing import Any

from edgescale.harness.simulation.redis.commands import DENYOOM, MAY_REPLICATE, STALE, WRITE
from edgescale.harness.simulation.redis.replies import ReplyError

_FLAGS = {b"no-writes", b"allow-oom", b"allow-stale", b"no-cluster", b"allow-cross-slot-keys"}


@dataclass(frozen=True, slots=True)
class Script:
    """A script that the server knows.

    Attributes:
        sha: its name.
        function: compiled.
        flags: of its first line, None when that is no shebang: then each command is checked as it comes.
    """

    sha: bytes
    function: Any
    flags: frozenset[bytes] | None

    def command_flags(self, flags: int) -> int:
        """What EVAL with this script counts as. Source: Redis, "Script flags"."""
        if self.flags is None:
            return flags
        flags &= ~(STALE | MAY_REPLICATE)
        if b"no-writes" not in self.flags:
            flags |= WRITE
            if b"allow-oom" not in self.flags:
                flags |= DENYOOM
        if b"allow-stale" in self.flags:
            flags |= STALE
        return flags


def read_shebang(body: bytes) -> tuple[frozenset[bytes] | None, bytes]:
    """The flags of the first line, and the body without that line but with its line break.

    Raises:
        ReplyError: the line is wrong.
    """
    if not body.startswith(b"#!"):
        return None, body
    line, newline, _ = body.partition(b"\n")
    if not newline:
        raise ReplyError(b"ERR Invalid script shebang")
    engine, *options = line.split()
    if engine != b"#!lua":
        raise ReplyError(b"ERR Unexpected engine in script shebang: " + engine)
    flags: set[bytes] = set()
    for option in options:
        if not option.startswith(b"flags="):
            raise ReplyError(b"ERR Unknown lua shebang option: " + option)
        for flag in option.removeprefix(b"flags=").split(b","):
            if flag not in _FLAGS:
                raise ReplyError(b"ERR Unexpected flag in script shebang: " + flag)
            flags.add(flag)
    return frozenset(flags), body[len(line) :]
