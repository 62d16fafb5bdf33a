"""Which reply answers which request, on one connection to Redis."""

import pytest

from edgescale.harness.chaos.dialogue import Dialogue, Follower, Request, Utterance
from edgescale.harness.chaos.resp import LINE_BYTES_MAX, NotResp, RespSplitter
from tests.redis_wire import encode


class Connection:
    """Both ways of one."""

    def __init__(self) -> None:
        self.dialogue = Dialogue()
        self.requests = Follower(self.dialogue, requests=True)
        self.replies = Follower(self.dialogue, requests=False)

    def ask(self, *commands: str) -> list[Request]:
        heard = self.requests.hear(b"".join(encode(command.encode().split()) for command in commands))
        return [said.request for said in heard if said.request is not None]

    def say(self, data: bytes) -> list[Utterance]:
        return list(self.replies.hear(data))

    def answers(self, data: bytes) -> list[str]:
        """To which requests these are the replies; `-` for none."""
        return [said.request.frame.head.decode() if said.request else "-" for said in self.say(data)]


def bulk(*words: str, sign: str = "*") -> bytes:
    return sign.encode() + encode([word.encode() for word in words])[1:]


def test_replies_answer_in_order() -> None:
    connection = Connection()
    connection.ask("PING", "GET k", "LRANGE l 0 -1")

    assert connection.answers(b"+PONG\r\n$-1\r\n" + bulk("message", "c", "text")) == ["PING", "GET", "LRANGE"]
    assert connection.answers(b"+what nobody asked for\r\n") == ["-"]


def test_a_request_knows_how_many_are_unanswered_before_it() -> None:
    connection = Connection()

    assert [request.ahead for request in connection.ask("PING", "PING", "PING")] == [0, 1, 2]
    connection.say(b"+PONG\r\n+PONG\r\n")
    assert [request.ahead for request in connection.ask("PING")] == [1]


def test_messages_answer_nothing() -> None:
    connection = Connection()
    connection.ask("SSUBSCRIBE c", "PING")
    arriving = bulk("ssubscribe", "c") + bulk("smessage", "c", "text") + bulk("pong", "") + bulk("message", "c", "text")

    said = connection.say(arriving)

    assert [utterance.request and utterance.request.frame.head for utterance in said] == [
        b"SSUBSCRIBE",
        None,
        b"PING",
        None,
    ]
    assert [utterance.is_message for utterance in said] == [False, True, False, True]


def test_each_channel_of_a_subscription_is_confirmed() -> None:
    connection = Connection()
    connection.ask("SUBSCRIBE a b", "PING")

    confirmed = bulk("subscribe", "a") + bulk("subscribe", "b") + bulk("pong", "")
    assert connection.answers(confirmed) == ["SUBSCRIBE", "SUBSCRIBE", "PING"]


def test_a_subscription_that_is_refused_is_refused_once() -> None:
    connection = Connection()
    connection.ask("SSUBSCRIBE a b", "PING")

    assert connection.answers(b"-MOVED 1 h:1\r\n+PONG\r\n") == ["SSUBSCRIBE", "PING"]


def test_a_channel_that_moves_away_answers_nothing() -> None:
    connection = Connection()
    connection.ask("SSUBSCRIBE a")
    connection.say(bulk("ssubscribe", "a"))
    connection.ask("PING")

    assert connection.answers(bulk("sunsubscribe", "a") + bulk("pong", "")) == ["-", "PING"]


def test_with_resp3_a_list_is_a_reply_and_a_push_is_none() -> None:
    connection = Connection()
    connection.ask("SUBSCRIBE a", "LRANGE l 0 -1", "GET k")
    arriving = (
        bulk("subscribe", "a", sign=">")
        + bulk("message", "a", "text", sign=">")
        + bulk("message", "in", "a list")
        + bulk("invalidate", sign=">")
        + b"_\r\n"
    )

    said = connection.say(arriving)

    assert [utterance.request.frame.head.decode() if utterance.request else "-" for utterance in said] == [
        "SUBSCRIBE",
        "-",
        "LRANGE",
        "-",
        "GET",
    ]
    assert [utterance.is_message for utterance in said] == [False, True, False, False, False]


def test_an_empty_request_is_not_answered() -> None:
    connection = Connection()
    list(connection.requests.hear(b"*0\r\n\r\nPING\r\n"))

    assert connection.answers(b"+PONG\r\n") == ["PING"]


def test_after_psync_everything_passes_as_it_comes() -> None:
    connection = Connection()
    connection.ask("PSYNC ? -1")

    assert connection.say(b"$3\r\nab") == [Utterance(b"$3\r\nab")]
    assert connection.say(b"\xff\x00") == [Utterance(b"\xff\x00")]
    assert list(connection.requests.hear(b"*1\r\n$4\r\nPI")) == [Utterance(b"*1\r\n$4\r\nPI")]


def test_what_makes_no_sense_passes_as_it_comes_and_so_does_all_behind() -> None:
    connection = Connection()
    connection.ask("PING")

    [pong, nonsense] = connection.say(b"+PONG\r\n?what\r\n+PONG\r\n")

    assert (pong.data, nonsense) == (b"+PONG\r\n", Utterance(b"?what\r\n+PONG\r\n"))
    assert connection.say(b"+PONG\r\n") == [Utterance(b"+PONG\r\n")]
    assert connection.ask("PING") == []


def test_what_is_not_whole_at_the_end_is_passed_on() -> None:
    connection = Connection()

    assert connection.say(b"$10\r\nabc") == []
    assert connection.say(b"") == [Utterance(b"$10\r\nabc")]


@pytest.mark.parametrize(
    "nonsense",
    [b"?\r\n", b"$x\r\n", b"$-2\r\n", b"*1.5\r\n", b"$3\r\nabcd\r\n", b"+text\n", b":" + b"1" * (LINE_BYTES_MAX + 1)],
)
def test_nonsense_is_told_from_what_is_not_whole_yet(nonsense: bytes) -> None:
    splitter = RespSplitter(requests=False)
    splitter.feed(nonsense)

    with pytest.raises(NotResp):
        splitter.next()
    assert splitter.take_back() == nonsense


def test_a_frame_may_be_larger_than_any_buffer() -> None:
    splitter = RespSplitter(requests=False)
    large = b"$%d\r\n%b\r\n" % (10 * LINE_BYTES_MAX, bytes(10 * LINE_BYTES_MAX))
    splitter.feed(large[:-1])
    assert splitter.next() is None
    splitter.feed(large[-1:])

    frame = splitter.next()

    assert frame is not None
    assert frame.raw == large
