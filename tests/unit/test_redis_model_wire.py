"""The Redis model takes what a connection delivers, in whatever pieces, and answers in the protocol asked for."""

from hypothesis import given
from hypothesis import strategies as st

from tests.redis_wire import encode
from tests.redis_world import World

COMMANDS = [b"PING", b"SET k v", b"GET k", b"XADD s 1-1 f v", b"XRANGE s - +", b"NONSENSE", b"ECHO \xff\x00"]


def wire(*commands: bytes) -> bytes:
    return b"".join(encode(command.split(b" ")) for command in commands)


def answer(pieces: list[bytes]) -> bytes:
    client = World().client()
    for piece in pieces:
        client.session.feed(piece)
    return client.received()


@given(st.data())
def test_it_does_not_matter_in_which_pieces_commands_arrive(data: st.DataObject) -> None:
    stream = wire(*COMMANDS)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert answer(pieces) == answer([stream])


def test_commands_sent_at_once_are_answered_at_once_and_in_order() -> None:
    client = World().client()
    client.session.feed(wire(b"PING", b"ECHO a", b"ECHO b"))
    assert client.writes == [b"+PONG\r\n$1\r\na\r\n$1\r\nb\r\n"]


def test_what_is_no_command_is_answered_with_an_error_and_ends_the_connection() -> None:
    client = World().client()
    client.session.feed(wire(b"PING") + b"+no command\r\n" + wire(b"PING"))
    assert client.received().startswith(b"+PONG\r\n-ERR Protocol error")
    assert client.closed


def test_a_number_within_a_command_is_no_word() -> None:
    client = World().client()
    client.session.feed(b"*2\r\n$4\r\nECHO\r\n:1\r\n")
    assert client.received().startswith(b"-ERR Protocol error")
    assert client.closed


def test_an_empty_command_is_passed_over() -> None:
    client = World().client()
    client.session.feed(b"*0\r\n" + wire(b"PING"))
    assert client.received() == b"+PONG\r\n"


def test_resp3_has_types_of_its_own() -> None:
    world = World()
    client = world.client()
    client.do("HELLO", 3)
    world.client().do("XADD", "s", "1-1", "f", "v")
    client.session.feed(wire(b"HSET h f v", b"HGETALL h", b"GET none", b"ZADD z 1.5 m", b"ZSCORE z m"))
    assert client.received() == b":1\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n_\r\n:1\r\n,1.5\r\n"
    client.session.feed(wire(b"XREAD STREAMS s 0", b"INFO keyspace"))
    first, _, rest = client.received().partition(b"=")
    assert first == b"%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
    assert b"txt:# Keyspace" in rest


def test_messages_are_pushes_in_resp3_and_lists_in_resp2() -> None:
    world = World()
    old, new = world.client(), world.client()
    new.do("HELLO", 3)
    assert old.do_raw("SUBSCRIBE", "c") == b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    assert new.do_raw("SSUBSCRIBE", "c") == b">3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n"
    publisher = world.client()
    assert publisher.do("PUBLISH", "c", "m") == 1
    assert publisher.do("SPUBLISH", "c", "m") == 1
    assert old.received() == b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
    assert new.received() == b">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"


def test_a_listener_without_channels_is_told_so() -> None:
    client = World().client()
    assert client.do_raw("UNSUBSCRIBE") == b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"
    client.do_raw("SUBSCRIBE", "a", "b")
    assert client.do_raw("UNSUBSCRIBE").count(b"unsubscribe") == 2
    assert client.do("GET", "k") is None
