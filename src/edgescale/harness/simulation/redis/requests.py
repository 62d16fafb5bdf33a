"""What clients send, read as it arrives: in pieces, many commands at once, or both."""

import hiredis

from edgescale.harness.simulation.redis.replies import ReplyError

_ONLY_WORDS = frozenset({bytes})


class RequestReader:
    """Turns a byte stream into commands.

    A command on the wire is an array of byte strings, and so hiredis, made to read replies, reads commands as well.
    Commands typed as a plain line are not modelled. Source: Redis serialization protocol, "Sending commands".
    """

    def __init__(self) -> None:
        self._reader = hiredis.Reader()

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._reader.feed(data)

    def next(self) -> list[bytes] | None:
        """The next command, which may have no words at all; None when the rest has yet to arrive.

        Raises:
            ReplyError: this is no command; nothing after it can be read.
        """
        try:
            command = self._reader.gets()
        except hiredis.ProtocolError as error:
            raise ReplyError(b"ERR Protocol error: " + str(error).encode()) from error
        if command is False:
            return None
        if type(command) is not list or not _ONLY_WORDS.issuperset(map(type, command)):
            raise ReplyError(b"ERR Protocol error: expected an array of bulk strings")
        return command
