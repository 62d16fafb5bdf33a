"""What clients send, read as it arrives: in pieces, many commands at once, or both."""

from collections.abc import Iterator

import hiredis

from edgescale.harness.simulation.redis.replies import ReplyError


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

    def commands(self) -> Iterator[list[bytes]]:
        """The commands that are complete, one at a time; the rest waits until the next is asked for.

        Raises:
            ReplyError: this is no command; nothing after it can be read.
        """
        while True:
            try:
                command = self._reader.gets()
            except hiredis.ProtocolError as error:
                raise ReplyError(b"ERR Protocol error: " + str(error).encode()) from error
            if command is False:
                return
            if type(command) is not list or not all(type(word) is bytes for word in command):
                raise ReplyError(b"ERR Protocol error: expected an array of bulk strings")
            if command:
                yield command
