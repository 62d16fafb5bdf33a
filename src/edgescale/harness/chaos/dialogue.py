"""Which reply of Redis answers which request, and which was not asked for, on one connection.

Redis answers in order, each request once. Exceptions: subscriptions are confirmed channel by channel, messages are
pushed, and some commands turn the connection into something else for good. CLIENT REPLY is not followed.
Source: Redis, "Redis serialization protocol" and "Pub/Sub".
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from edgescale.harness.chaos.resp import Frame, NotResp, RespSplitter

_MESSAGES = frozenset({b"message", b"pmessage", b"smessage"})
_SUBSCRIBING = frozenset(f"{kind}{verb}".encode() for kind in ("", "P", "S") for verb in ("SUBSCRIBE", "UNSUBSCRIBE"))
# After these, what comes is no reply to anything.
_LAST_WORDS = frozenset({b"PSYNC", b"SYNC", b"MONITOR"})
_PUSH, _LIST, _ERROR = b">", b"*", b"-"


@dataclass(slots=True, eq=False)
class Request:
    """A request that was made on a connection.

    Attributes:
        frame: as it was sent.
        ahead: how many requests were unanswered before it.
        replies: how many are yet to come.
    """

    frame: Frame
    ahead: int
    replies: int = 1


class Dialogue:
    """What is said on one connection.

    Attributes:
        over: what comes from now on is not requests and replies.
    """

    def __init__(self) -> None:
        self.over = False
        self._open: deque[Request] = deque()
        self._listens = False
        self._marks_pushes = False

    def asked(self, frame: Frame) -> Request | None:
        """Take a request; None for an empty one, which nobody answers."""
        if not frame.size:
            return None
        command = frame.head.upper()
        self.over = self.over or command in _LAST_WORDS
        subscribes = command in _SUBSCRIBING
        self._listens = self._listens or subscribes
        request = Request(frame, ahead=len(self._open), replies=max(frame.size - 1, 1) if subscribes else 1)
        self._open.append(request)
        return request

    def answered(self, frame: Frame) -> Request | None:
        """Take what Redis said; the request that it answers, None where nobody had asked."""
        self._marks_pushes = self._marks_pushes or frame.sign == _PUSH
        if not self._open:
            return None
        request = self._open[0]
        if self._is_pushed(frame) and request.frame.head.lower() != frame.head:
            return None
        request.replies -= 1
        if not request.replies or frame.sign == _ERROR:
            self._open.popleft()
        return request

    def is_message(self, frame: Frame) -> bool:
        """Whether a subscriber is told what somebody published."""
        return frame.head in _MESSAGES and self._may_be_pushed(frame)

    def _is_pushed(self, frame: Frame) -> bool:
        """Whether it may come unasked: messages, confirmations, and with RESP3 whatever is marked so."""
        known = frame.head in _MESSAGES or frame.head.upper() in _SUBSCRIBING
        return frame.sign == _PUSH or (known and self._may_be_pushed(frame))

    def _may_be_pushed(self, frame: Frame) -> bool:
        # With RESP2 a push looks like any list; but then, who listens may ask for little else.
        return frame.sign == _PUSH or (self._listens and not self._marks_pushes and frame.sign == _LIST)


class Utterance(NamedTuple):
    """What is said at once.

    Attributes:
        data: its bytes, as they came.
        request: that it is, or that it answers; None for anything else.
        is_message: a subscriber is told what somebody published.
    """

    data: bytes
    request: Request | None = None
    is_message: bool = False


class Follower:
    """Cuts what goes one way into what is said. Bytes that make no sense are passed on as they come, as are all behind.

    Args:
        dialogue: of the connection; the other way has the same.
        requests: whether this is what a client says.
    """

    def __init__(self, dialogue: Dialogue, *, requests: bool) -> None:
        self._dialogue = dialogue
        self._requests = requests
        self._splitter = RespSplitter(requests=requests)

    def hear(self, data: bytes) -> Iterator[Utterance]:
        """Take what arrived; empty for the end."""
        self._splitter.feed(data)
        while not self._dialogue.over and (frame := self._next()) is not None:
            if self._requests:
                yield Utterance(frame.raw, self._dialogue.asked(frame))
            else:
                yield Utterance(frame.raw, self._dialogue.answered(frame), self._dialogue.is_message(frame))
        if (self._dialogue.over or not data) and (rest := self._splitter.take_back()):
            yield Utterance(rest)

    def _next(self) -> Frame | None:
        try:
            return self._splitter.next()
        except NotResp:
            self._dialogue.over = True
            return None
