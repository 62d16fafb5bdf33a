"""Which keys a command touches: scripts may touch those alone that their callers declared.

A server does not check this within one slot of a cluster. But while the slot moves to another node, key by key, it
looks at the declared ones only, and a key that moved already looks as if it was not there.
Source: Redis, "Lua API reference" (script cluster key constraints); Redis cluster specification, "ASK redirection".
"""

from collections.abc import Collection

# Their words are keys, all of them.
_ALL = frozenset({"del", "unlink", "exists"})
# Channels are not among the keys of a slot.
_NONE = frozenset({"time", "spublish", "publish", "ping", "echo"})


class Undeclared(AssertionError):
    """A script of ours touched a key that is not among its KEYS: a defect."""


def keys_of(name: str, argv: list[bytes]) -> list[bytes]:
    """The keys of a command that scripts of ours use.

    Args:
        name: as the table of commands has it; a subcommand's is `parent|name`.
        argv: its words.
    """
    if name in _NONE:
        return []
    return argv[1:] if name in _ALL else [argv[2 if "|" in name else 1]]


def check_declared(name: str, argv: list[bytes], declared: Collection[bytes]) -> None:
    """Hold a command against what was declared.

    Raises:
        Undeclared: it touches another key.
    """
    for key in keys_of(name, argv):
        if key not in declared:
            raise Undeclared(f"a script touches the undeclared key {key!r} with {name.upper()}")
