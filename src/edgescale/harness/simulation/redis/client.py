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
    """

    resp = RESP2
    may_block = False

    def __init__(self, model: "RedisModel") -> None:
        self.model = model

    @property
    def keyspace(self) -> Keyspace:
        """The data; replaced as a whole when the server restarts."""
        return self.model.keyspace

    def record(self, *words: bytes) -> None:
        """Note a change in the log, as the command that repeats exactly its effect."""
        self.model.log.record(words if words[0].isupper() else (words[0].upper(), *words[1:]))
