"""Whoever runs commands: a session, a script, or the replay of the log."""

from typing import TYPE_CHECKING

from edgescale.harness.simulation.redis.keyspace import Keyspace
from edgescale.harness.simulation.redis.replies import RESP2

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.model import RedisModel


class Client:
    """The view that a command's handler has of whoever runs it.

    Attributes:
        model: the server.
        keyspace: its data.
        resp: protocol version of the replies.
        may_block: whether a command may wait; otherwise it answers at once as if its time had run out.
        replays: it repeats what was done before.
    """

    resp = RESP2
    may_block = False
    replays = False

    def __init__(self, model: "RedisModel", keyspace: Keyspace) -> None:
        self.model = model
        self.keyspace = keyspace

    def wake(self, key: bytes) -> None:
        """Give those who wait for a stream cause to look at it, once the command is done."""
        self.model.waiters.look(key)

    def record(self, *words: bytes) -> None:
        """Note a change in the log, as the command that repeats exactly its effect."""
        self.model.log.record(words if words[0].isupper() else (words[0].upper(), *words[1:]))
