"""The table of commands: names, arities and flags. Source: Redis, COMMAND INFO."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgescale.harness.simulation.redis.replies import Reply, ReplyError

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.client import Client

WRITE = 1 << 0
DENYOOM = 1 << 1
NOSCRIPT = 1 << 2
LOADING = 1 << 3
STALE = 1 << 4
MAY_REPLICATE = 1 << 5
ALLOW_BUSY = 1 << 6
NO_MULTI = 1 << 7
# Served whatever the server's state; most commands about the connection have all three.
ALWAYS = NOSCRIPT | LOADING | STALE
FLAG_NAMES = {
    "write": WRITE,
    "denyoom": DENYOOM,
    "noscript": NOSCRIPT,
    "loading": LOADING,
    "stale": STALE,
    "allow_busy": ALLOW_BUSY,
    "no_multi": NO_MULTI,
}
_QUOTED_BYTES_MAX = 128

Handler: TypeAlias = "Callable[[Client, list[bytes]], Reply]"


@dataclass(frozen=True, slots=True)
class Command:
    """One command, or one subcommand.

    Attributes:
        name: in lower case; a subcommand's is `parent|name`.
        arity: words of the command, its name included; at least so many when negative.
        flags: a sum of the constants above.
        run: carries it out; raises ReplyError before it changes anything.
        modern: exists since Redis 7.2.
    """

    name: str
    arity: int
    flags: int
    run: Handler
    modern: bool = False

    def fits(self, argv: list[bytes]) -> bool:
        """Whether the number of words is right."""
        arity = self.arity
        return len(argv) == arity if arity > 0 else len(argv) >= -arity


REGISTERED: list[tuple[Command, int]] = []


def command(
    name: str, arity: int, flags: int = 0, *, modern_flags: int = 0, modern: bool = False
) -> Callable[[Handler], Handler]:
    """Register a handler.

    Args:
        name: see `Command`.
        arity: see `Command`.
        flags: see `Command`.
        modern_flags: further flags since Redis 7.2.
        modern: the command exists since Redis 7.2.
    """

    def register(handler: Handler) -> Handler:
        REGISTERED.append((Command(name, arity, flags, handler, modern), modern_flags))
        return handler

    return register


class CommandTable:
    """The commands of one flavour.

    Args:
        modern: whether the server has what Redis 7.2 brought.
    """

    def __init__(self, *, modern: bool) -> None:
        self._plain: dict[str, Command] = {}
        self._nested: dict[str, dict[str, Command]] = {}
        # As they were spelled, so that few words are read twice.
        self._seen: dict[bytes, Command] = {}
        self._seen_nested: dict[tuple[bytes, bytes], Command] = {}
        for entry, modern_flags in REGISTERED:
            if not entry.modern or modern:
                flags = entry.flags | modern_flags * modern
                self._add(Command(entry.name, entry.arity, flags, entry.run, entry.modern))

    def _add(self, entry: Command) -> None:
        parent, bar, child = entry.name.partition("|")
        if bar:
            self._nested.setdefault(parent, {})[child] = entry
        else:
            self._plain[parent] = entry

    def __iter__(self) -> Iterator[Command]:
        """All commands, subcommands included."""
        yield from self._plain.values()
        for children in self._nested.values():
            yield from children.values()

    def find(self, argv: list[bytes]) -> Command | None:
        """The command of these words, whatever their number; None when there is none."""
        found = self._seen.get(argv[0])
        if found is None and len(argv) > 1:
            found = self._seen_nested.get((argv[0], argv[1]))
        return found or self._look_up(argv)

    def _look_up(self, argv: list[bytes]) -> Command | None:
        name = argv[0].decode("latin-1").lower()
        children = self._nested.get(name)
        if children is None:
            found = self._plain.get(name)
            if found is not None:
                self._seen[argv[0]] = found
            return found
        found = children.get(argv[1].decode("latin-1").lower()) if len(argv) > 1 else None
        if found is not None:
            self._seen_nested[argv[0], argv[1]] = found
        return found

    def resolve(self, argv: list[bytes]) -> Command:
        """The command of these words.

        Raises:
            ReplyError: there is none, or the number of words is wrong.
        """
        found = self.find(argv)
        if found is None:
            raise self._unknown(argv)
        if not found.fits(argv):
            raise ReplyError(wrong_arity(found.name))
        return found

    def _unknown(self, argv: list[bytes]) -> ReplyError:
        name = argv[0].decode("latin-1").lower()
        if name in self._nested:
            if len(argv) == 1:
                return ReplyError(wrong_arity(name))
            problem = b"ERR unknown subcommand '%b'. Try %b HELP."
            return ReplyError(problem, argv[1][:_QUOTED_BYTES_MAX], name.upper().encode())
        quoted = b""
        for word in argv[1:]:
            if len(quoted) >= _QUOTED_BYTES_MAX:
                break
            quoted += b"'%b' " % word[: _QUOTED_BYTES_MAX - len(quoted)].partition(b"\0")[0]
        problem = b"ERR unknown command '%b', with args beginning with: %b"
        return ReplyError(problem, argv[0][:_QUOTED_BYTES_MAX], quoted)


def wrong_arity(name: str) -> bytes:
    """What is said of a wrong number of words."""
    return b"ERR wrong number of arguments for '%b' command" % name.encode()
