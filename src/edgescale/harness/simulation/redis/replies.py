"""Replies of the model, and how they look on the wire in RESP2 and RESP3. Source: Redis serialization protocol.

Integers, byte strings, None and lists stand for themselves. The rest has a class here, as the two protocol versions
write it differently, or as Lua sees it differently.
"""

from typing import Any, TypeAlias

RESP2 = 2
RESP3 = 3


class Special:
    """A reply that is more than an integer, a byte string, None or a list."""

    __slots__ = ()

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        raise NotImplementedError

    def plain(self) -> "Reply":
        """The reply as a script gets it, whose commands always answer in RESP2."""
        raise NotImplementedError


Reply: TypeAlias = int | bytes | list[Any] | Special | None


class Status(Special):
    """A status such as OK."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        del resp
        parts.append(b"+%b\r\n" % self.text)

    def plain(self) -> Reply:
        """Itself: scripts get a table with `ok`."""
        return self


class Failure(Special):
    """An error reply; `text` begins with its code."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        del resp
        # A line break within would end the reply early. Source: Redis, "RESP simple errors".
        parts.append(b"-%b\r\n" % self.text.replace(b"\r", b" ").replace(b"\n", b" "))

    def plain(self) -> Reply:
        """Itself: scripts get a table with `err`."""
        return self


class NullArray(Special):
    """No array: what a read that timed out answers."""

    __slots__ = ()

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        parts.append(b"*-1\r\n" if resp == RESP2 else b"_\r\n")

    def plain(self) -> Reply:
        """None."""
        return None


class Mapping(Special):
    """Keys and values in turn; RESP2 has no maps and sends one flat array."""

    __slots__ = ("flat",)

    def __init__(self, flat: list[Any]) -> None:
        self.flat = flat

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        if resp == RESP2:
            write(parts, self.flat, resp)
            return
        parts.append(b"%%%d\r\n" % (len(self.flat) // 2))
        for item in self.flat:
            write(parts, item, resp)

    def plain(self) -> Reply:
        """The flat list."""
        return self.flat


class Either(Special):
    """A reply of another shape in each version of the protocol."""

    __slots__ = ("resp2", "resp3")

    def __init__(self, resp2: "Reply", resp3: "Reply") -> None:
        self.resp2 = resp2
        self.resp3 = resp3

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        write(parts, self.resp2 if resp == RESP2 else self.resp3, resp)

    def plain(self) -> Reply:
        """That of RESP2."""
        return self.resp2


class Double(Special):
    """A floating point number in the server's own spelling."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        if resp == RESP2:
            write(parts, self.text, resp)
        else:
            parts.append(b",%b\r\n" % self.text)

    def plain(self) -> Reply:
        """Its text."""
        return self.text


class Text(Special):
    """A text for people, such as that of INFO."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        if resp == RESP2:
            write(parts, self.text, resp)
        else:
            parts.append(b"=%d\r\ntxt:%b\r\n" % (len(self.text) + 4, self.text))

    def plain(self) -> Reply:
        """The text itself."""
        return self.text


class Push(Special):
    """A message that nobody asked for just now: confirmations and messages of Pub/Sub."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        parts.append((b"*%d\r\n" if resp == RESP2 else b">%d\r\n") % len(self.items))
        for item in self.items:
            write(parts, item, resp)

    def plain(self) -> Reply:
        """The items as a list."""
        return self.items


class Encoded(Special):
    """A reply that is encoded already: what a script or a transaction returned."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def write(self, parts: list[bytes], resp: int) -> None:
        """Append the encoded reply to `parts`."""
        del resp
        parts.append(self.raw)

    def plain(self) -> Reply:
        """Never asked for: scripts cannot run scripts or transactions."""
        raise NotImplementedError


class ReplyError(Exception):
    """Ends a command with an error reply.

    Args:
        text: begins with the error's code; may have a `%b` for each word.
        words: of the client's, quoted as far as their first zero byte: the server takes them for C strings.
    """

    def __init__(self, text: bytes, *words: bytes) -> None:
        self.text = text % tuple(word.partition(b"\0")[0] for word in words) if words else text
        super().__init__(self.text)


OK = Status(b"OK")
QUEUED = Status(b"QUEUED")
NULL_ARRAY = NullArray()
# No reply by this way: the command blocked, or answered by pushes.
SILENCE = Encoded(b"")


def by_key(pairs: list[list[Any]]) -> Reply:
    """Values by key, as XREAD gives them: a map in RESP3, but a list of pairs in RESP2."""
    return Either(pairs, Mapping([item for pair in pairs for item in pair]))


def with_scores(pairs: list[list[Any]]) -> Reply:
    """Members with scores: a list of pairs in RESP3, but one flat list in RESP2."""
    return Either([item for pair in pairs for item in pair], pairs)


def write(parts: list[bytes], reply: Reply, resp: int) -> None:
    """Append the encoded reply to `parts`."""
    if isinstance(reply, bytes):
        parts.append(b"$%d\r\n%b\r\n" % (len(reply), reply))
    elif isinstance(reply, int):
        parts.append(b":%d\r\n" % reply)
    elif isinstance(reply, list):
        parts.append(b"*%d\r\n" % len(reply))
        for item in reply:
            write(parts, item, resp)
    elif reply is None:
        parts.append(b"$-1\r\n" if resp == RESP2 else b"_\r\n")
    else:
        reply.write(parts, resp)
