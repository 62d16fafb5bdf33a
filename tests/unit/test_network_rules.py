"""Rules: what each fault of the network does to those who talk over it, and that they add up."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from random import Random
from typing import Any

import pytest

from edgescale.broker.connection import Connection
from edgescale.broker.keys import Keys
from edgescale.errors import BrokerUnavailable, Unavailable
from edgescale.harness.recording.recorder import Recorder
from edgescale.harness.simulation import rules
from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.network import Latency, SimulatedNetwork
from edgescale.harness.simulation.node import Node
from edgescale.harness.simulation.packets import Kind, Packet, Piece, Rule, Verdict, strictest
from edgescale.harness.simulation.rpc import Rpc
from edgescale.harness.simulation.server import URL, RedisServer
from edgescale.harness.simulation.transport import SimulatedTransport

LINK = ("client", "server")


class Server(asyncio.Protocol):
    """Answers each line with itself, in capitals."""

    def __init__(self, scene: "Scene", transport: SimulatedTransport) -> None:
        self._scene = scene
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._scene.pieces.append((self._scene.loop.time(), len(data)))
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._scene.lines.append(line.decode())
            self._transport.write(line.upper() + b"\n")


class Client(asyncio.Protocol):
    """Sends lines, one at a time, and reads their answers."""

    def __init__(self) -> None:
        self.closed = False
        self._buffer = b""
        self._answer: asyncio.Future[str] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.endswith(b"\n") and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._buffer.decode().strip())

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    async def ask(self, line: str, timeout_s: float = 60.0) -> str:
        self._buffer = b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(line.encode() + b"\n")
        async with asyncio.timeout(timeout_s):
            return await self._answer


class Scene:
    """A network with a server on it; clients are the node `client` unless they say otherwise.

    Attributes:
        lines: that reached the server.
        pieces: when each came, and how many bytes it had.
    """

    def __init__(self, seed: int) -> None:
        self.loop = SimulationLoop(Random(seed))  # type: ignore[abstract] # the rest is set by name
        self.network = SimulatedNetwork(self.loop, Random(seed), Latency(fragment_probability=0.3))
        self.loop.network = self.network
        self.lines: list[str] = []
        self.pieces: list[tuple[float, int]] = []
        self.network.listen("server", "server", 1, lambda end: Server(self, end))
        self.client = Node(self.loop, "client")

    async def connect(self, node: Node | None = None) -> Client:
        connecting = (node or self.client).spawn(self.network.create_connection(Client, "server", 1))
        _, client = await connecting
        assert isinstance(client, Client)
        return client

    @contextlib.contextmanager
    def under(self, *faults: Rule) -> Iterator[None]:
        """All of them in force for a block."""
        with contextlib.ExitStack() as stack:
            for fault in faults:
                stack.enter_context(self.network.rule(fault))
            yield


def play(story: Callable[[Scene], Awaitable[Any]], seed: int = 1) -> Any:
    scene = Scene(seed)

    async def main() -> Any:
        return await story(scene)

    return scene.loop.run_until_complete(main())


def packet(source: str = "client", target: str = "server", data: bytes = b"x", **more: Any) -> Packet:
    return Packet(source, target, data, **{"number": 0, "bytes_before": 0, "connection": 1, **more})


async def reset_while_asking(client: Client, line: str) -> None:
    with pytest.raises(ConnectionResetError):
        await client.ask(line)
    assert client.closed


def test_a_reset_goes_before_a_hold_and_pieces_shrink_while_delays_add_up() -> None:
    assert strictest([None, 1.0, Verdict.HOLD, Verdict.RESET]) is Verdict.RESET
    assert strictest([Piece(3, 0.5), Verdict.HOLD, None]) is Verdict.HOLD
    assert strictest([None, 1.0, Piece(3, 0.5), 2, Piece(2), Piece(None, 0.25)]) == Piece(2, 3.75)
    assert strictest([None, None]) == Piece(None, 0)


@pytest.mark.parametrize(
    ("link", "source", "target", "there"),
    [
        (("a", "b"), "a", "b", True),
        (("a", "b"), "b", "a", True),
        (("a", "b"), "a", "c", False),
        (("a", "*"), "a", "c", True),
        (("a", "*"), "c", "a", True),
        (("a", "*"), "b", "c", False),
        (("*", "b"), "c", "b", True),
    ],
)
def test_a_link_is_two_nodes_or_one_and_all_others(link: rules.Link, source: str, target: str, there: bool) -> None:  # noqa: FBT001 - a parameter
    assert (rules.black_hole(link)(packet(source, target)) is Verdict.HOLD) is there


def test_a_delay_is_drawn_for_each_packet_and_keeps_order() -> None:
    async def story(scene: Scene) -> list[float]:
        client = await scene.connect()
        with scene.under(rules.delay(LINK, 1.0, 5.0, Random(1))):
            for number in range(20):
                client.transport.write(b"%d;" % number)
            client.transport.write(b"end\n")
            await asyncio.sleep(20)
        assert scene.lines == ["".join(f"{number};" for number in range(20)) + "end"]
        return [at for at, _ in scene.pieces]

    times = play(story)
    assert 1.0 < times[0] < times[-1] < 5.1
    assert len({*times}) > 1


def test_a_black_hole_swallows_both_ways_until_it_is_healed() -> None:
    async def story(scene: Scene) -> None:
        client = await scene.connect()
        with scene.under(rules.black_hole(LINK)):
            with pytest.raises(TimeoutError):
                await client.ask("one", timeout_s=100)
            client.transport.write(b"two\n")
            await asyncio.sleep(100)
            assert scene.lines == []
        await asyncio.sleep(0.1)
        assert scene.lines == ["one", "two"]
        assert not client.closed

    play(story)


def test_under_a_black_hole_a_handshake_waits_for_the_heal() -> None:
    async def story(scene: Scene) -> float:
        with scene.under(rules.black_hole(LINK)):
            connecting = asyncio.ensure_future(scene.connect())
            await asyncio.sleep(100)
            assert not connecting.done()
        await (await connecting).ask("x")
        return scene.loop.time()

    assert 100 < play(story) < 101


def test_an_asymmetric_partition_holds_one_direction_alone() -> None:
    async def story(scene: Scene) -> None:
        client = await scene.connect()
        with scene.under(rules.one_way("server", "client")):
            with pytest.raises(TimeoutError):
                await client.ask("heard", timeout_s=10)
            assert scene.lines == ["heard"]
        client = await scene.connect()
        with scene.under(rules.one_way("client", "server")), pytest.raises(TimeoutError):
            await client.ask("unheard", timeout_s=10)
        assert scene.lines == ["heard"]

    play(story)


def test_a_reset_takes_the_connection_of_whoever_sends_and_refuses_new_ones() -> None:
    async def story(scene: Scene) -> None:
        client, idle = await scene.connect(), await scene.connect()
        with scene.under(rules.reset(LINK)):
            await reset_while_asking(client, "lost")
            with pytest.raises(ConnectionRefusedError):
                await scene.connect()
        assert await idle.ask("i sent nothing") == "I SENT NOTHING"
        assert scene.lines == ["i sent nothing"]

    play(story)


def test_a_refusal_leaves_open_connections_alone() -> None:
    async def story(scene: Scene) -> None:
        client = await scene.connect()
        with scene.under(rules.refuse(("client", "*"))):
            assert await client.ask("still here") == "STILL HERE"
            with pytest.raises(ConnectionRefusedError):
                await scene.connect()
            await scene.connect(Node(scene.loop, "somebody else"))
        await scene.connect()

    play(story)


def test_a_slow_drip_passes_a_few_bytes_at_a_time_at_its_pace() -> None:
    async def story(scene: Scene) -> float:
        client = await scene.connect()
        before = scene.loop.time()
        with scene.under(rules.slow_drip(LINK, 100)):
            assert await client.ask("x" * 499, timeout_s=1000) == "X" * 499
        sizes = [size for _, size in scene.pieces]
        assert sum(sizes) == 500
        assert max(sizes) <= rules.DRIP_BYTES_MAX
        assert len({*sizes}) > 1
        return scene.loop.time() - before

    # 500 bytes there and 500 back, and the usual latency of some hundred pieces.
    assert 10 < play(story) < 10.5


def test_what_drips_when_the_fault_is_healed_arrives_at_once() -> None:
    async def story(scene: Scene) -> float:
        client = await scene.connect()
        with scene.under(rules.slow_drip(LINK, 10)):
            asking = asyncio.ensure_future(client.ask("x" * 499))
            await asyncio.sleep(5)
        assert await asking == "X" * 499
        return scene.loop.time()

    assert 5 < play(story) < 6


def test_a_link_that_dripped_once_paces_nothing_after_the_heal() -> None:
    async def story(scene: Scene) -> float:
        client = await scene.connect()
        with scene.under(rules.slow_drip(LINK, 1_000)):
            await client.ask("drip")
        before = scene.loop.time()
        for _ in range(500):
            client.transport.write(b"x")
        await client.ask("end")
        return scene.loop.time() - before

    assert play(story) < 0.01


@pytest.mark.parametrize("count", [1, 5, 6, 11])
def test_a_cut_after_bytes_lets_exactly_so_many_pass(count: int) -> None:
    async def story(scene: Scene) -> int:
        client = await scene.connect()
        await client.ask("before")
        passed = sum(size for _, size in scene.pieces)
        with scene.under(rules.cut_after_bytes("client", "server", count)), contextlib.suppress(ConnectionResetError):
            for _ in range(3):
                await client.ask("after")
        assert client.closed
        return sum(size for _, size in scene.pieces) - passed

    assert play(story) == count


def test_a_command_is_carried_out_and_its_reply_is_lost() -> None:
    async def story(scene: Scene) -> list[str]:
        client = await scene.connect()
        with scene.under(rules.cut_after_command(LINK)):
            await reset_while_asking(client, "done")
            assert await (await scene.connect()).ask("again") == "AGAIN"
        return scene.lines

    assert play(story) == ["done", "again"]


def test_a_request_is_lost_before_it_arrives() -> None:
    async def story(scene: Scene) -> list[str]:
        client = await scene.connect()
        with scene.under(rules.lose_request(LINK)):
            await reset_while_asking(client, "lost")
            assert await (await scene.connect()).ask("again") == "AGAIN"
        return scene.lines

    assert play(story) == ["again"]


FAULTS = [rules.cut_after_command, rules.lose_request]


async def fates(scene: Scene, lines: str) -> str:
    """Each line's first letter; a capital where its answer came back."""
    client, fate = await scene.connect(), ""
    for line in lines.split():
        try:
            fate += (await client.ask(line))[0]
        except ConnectionResetError:
            fate += line[0]
            client = await scene.connect()
    return fate


@pytest.mark.parametrize("fault", FAULTS)
def test_commands_are_aimed_at_by_what_they_hold_by_their_number_and_at_most_so_often(fault: Any) -> None:
    async def story(scene: Scene) -> list[str]:
        aimed = rules.holding(b"settle")
        seen = []
        for rule in (fault(LINK, aimed), fault(LINK, aimed, 2), fault(LINK, first=3), fault(LINK, aimed, first=2)):
            with scene.under(rule):
                seen.append(await fates(scene, "renew settle renew settle settle"))
        return seen

    assert play(story) == ["RsRSS", "RsRsS", "RSrSS", "RSRsS"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_command_that_is_held_counts_once_however_often_it_is_judged(fault: Any) -> None:
    async def story(scene: Scene) -> str:
        client = await scene.connect()
        with scene.under(fault(LINK, first=2)):
            with scene.under(rules.black_hole(LINK)):
                asking = asyncio.ensure_future(client.ask("first"))
                for _ in range(5):
                    await asyncio.sleep(1)
                    scene.network.look_again()
            assert await asking == "FIRST"
            return await fates(scene, "second third")

    assert play(story) == "sT"


def test_now_and_then_is_a_matter_of_its_own_chance() -> None:
    def hits(seed: int) -> list[bool]:
        matching = rules.now_and_then(0.25, Random(seed), rules.holding(b"a"))
        return [matching(b"abc") for _ in range(400)]

    assert hits(1) == hits(1) != hits(2)
    assert 70 < sum(hits(1)) < 130
    assert not rules.now_and_then(1.0, Random(1), rules.holding(b"a"))(b"xyz")


@pytest.mark.parametrize("backwards", [False, True])
def test_rules_add_up_whatever_their_order(backwards: bool) -> None:  # noqa: FBT001 - a parameter
    async def story(scene: Scene) -> float:
        client = await scene.connect()
        faults = [rules.delay(LINK, 2, 2, Random(1)), rules.cut_after_command(LINK), rules.slow_drip(LINK, 10)]
        before = scene.loop.time()
        with scene.under(*reversed(faults) if backwards else faults):
            await reset_while_asking(client, "123456789")
        assert scene.lines == ["123456789"]
        return scene.loop.time() - before

    # Ten bytes take one second, and each of the five pieces of 1, 2, 4, 1 and 2 takes two more.
    assert 11 < play(story) < 11.1


async def redis_under(scene: Scene, fault: Rule, times: int) -> tuple[int, int]:
    """How many of so many INCR failed, and what the counter says."""
    server = RedisServer(scene.network, Recorder(lambda: scene.loop.now_ns), Keys(1), {}, 0)
    connection = Connection(URL, timeout_ms=1_000)
    failed = 0

    async def count() -> None:
        nonlocal failed
        for _ in range(times):
            try:
                await connection.command("INCR", "n")
            except BrokerUnavailable:
                failed += 1

    with scene.under(fault):
        await scene.client.spawn(count())
    reached = int(await scene.client.spawn(connection.command("GET", "n")))
    assert server.model.calls["incr"] == reached
    await scene.client.spawn(connection.close())
    return failed, reached


REDIS_LINK = ("client", "redis")


def test_through_redis_py_a_lost_reply_is_an_unknown_outcome_that_happened() -> None:
    fault = rules.cut_after_command(REDIS_LINK, rules.holding(b"INCR"), 3, first=2)

    assert play(lambda scene: redis_under(scene, fault, 10)) == (3, 10)


def test_through_redis_py_a_lost_request_is_an_unknown_outcome_that_did_not_happen() -> None:
    fault = rules.lose_request(REDIS_LINK, rules.holding(b"INCR"), 3, first=2)

    assert play(lambda scene: redis_under(scene, fault, 10)) == (3, 7)


def test_redis_py_reads_replies_that_drip() -> None:
    assert play(lambda scene: redis_under(scene, rules.slow_drip(REDIS_LINK, 2_000), 5)) == (0, 5)


async def Echo(request: str, _: object) -> str:  # noqa: N802 - methods of servicers are named so, and awaited
    return request.upper()


async def Linger(request: str, _: object) -> str:  # noqa: N802 - as above
    try:
        await asyncio.sleep(1_000)
    except asyncio.CancelledError:
        request_log.append(f"{request} was cancelled at {asyncio.get_running_loop().time():.0f}")
        raise
    return request


request_log: list[str] = []


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    request_log.clear()


def calls(story: Callable[[Scene, Rpc, Node], Awaitable[Any]]) -> Any:
    def in_scene(scene: Scene) -> Awaitable[Any]:
        return story(scene, Rpc(scene.network, Random(1)), Node(scene.loop, "server"))

    return play(in_scene)


def test_a_call_waits_behind_a_black_hole_and_fails_at_a_reset() -> None:
    async def story(scene: Scene, rpc: Rpc, server: Node) -> float:
        with scene.under(rules.reset(LINK)), pytest.raises(Unavailable):
            await rpc.call("client", server, Echo, "x")
        with scene.under(rules.black_hole(LINK)):
            calling = asyncio.ensure_future(rpc.call("client", server, Echo, "x"))
            await asyncio.sleep(10)
            with pytest.raises(TimeoutError):
                await rpc.call("client", server, Echo, "y", timeout_s=5)
        assert await calling == "X"
        return scene.loop.time()

    assert 15 < calls(story) < 16


def test_a_call_ends_when_the_servers_connections_are_reset_and_so_does_its_handler() -> None:
    async def story(scene: Scene, rpc: Rpc, server: Node) -> None:
        calling = asyncio.ensure_future(rpc.call("client", server, Linger, "it", timeout_s=100))
        await asyncio.sleep(1)
        scene.network.reset_all("server")
        with pytest.raises(Unavailable):
            await calling
        await asyncio.sleep(1)
        assert request_log == ["it was cancelled at 1"]

    calls(story)


@pytest.mark.parametrize("silent", [False, True])
def test_only_a_server_that_falls_silent_keeps_its_callers_waiting(silent: bool) -> None:  # noqa: FBT001 - a parameter
    async def story(scene: Scene, rpc: Rpc, server: Node) -> float:
        calling = asyncio.ensure_future(rpc.call("client", server, Linger, "it", timeout_s=100))
        await asyncio.sleep(1)
        server.crash()
        if not silent:
            scene.network.reset_all("server")
        with pytest.raises(TimeoutError if silent else Unavailable):
            await calling
        await asyncio.sleep(1_000)
        assert request_log == []
        return scene.loop.time()

    assert (calls(story) >= 1_100) is silent


def test_a_server_behind_a_black_hole_learns_of_a_cancelled_call_by_its_deadline() -> None:
    async def story(scene: Scene, rpc: Rpc, server: Node) -> None:
        calling = asyncio.ensure_future(rpc.call("client", server, Linger, "first", timeout_s=100))
        await asyncio.sleep(1)
        calling.cancel()
        await asyncio.wait([calling])
        calling = asyncio.ensure_future(rpc.call("client", server, Linger, "second", timeout_s=99))
        await asyncio.sleep(1)
        with scene.under(rules.black_hole(LINK)):
            calling.cancel()
            await asyncio.sleep(500)
        assert request_log == ["first was cancelled at 1", "second was cancelled at 100"]

    calls(story)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_is_lost_on_its_way_there_or_back(fault: Any) -> None:
    async def story(scene: Scene, rpc: Rpc, server: Node) -> list[str]:
        served = []

        async def Note(request: str, _: object) -> str:  # noqa: N802 - as above
            served.append(request)
            return request

        with scene.under(fault(LINK, rules.holding(b"Note"))):
            with pytest.raises(Unavailable):
                await rpc.call("client", server, Note, "first")
            await rpc.call("client", server, Note, "second")
        return served

    assert calls(story) == {rules.cut_after_command: ["first", "second"], rules.lose_request: ["second"]}[fault]


def test_a_rule_sees_a_write_as_a_whole_and_the_end_of_a_stream_as_what_it_is() -> None:
    seen: list[Packet] = []

    def rule(packet: Packet) -> Piece | None:
        if packet.source == "client" and not packet.connects:
            seen.append(packet)
        return Piece(4) if packet.data else None

    async def story(scene: Scene) -> None:
        with scene.under(rule):
            client = await scene.connect()
            await client.ask("abcdef")
            client.transport.close()
            await asyncio.sleep(1)

    play(story)
    assert [(p.data, p.number, p.bytes_before, p.begun, p.kind) for p in seen] == [
        (b"abcdef\n", 0, 0, False, Kind.DATA),
        (b"ef\n", 0, 4, True, Kind.DATA),
        (b"", 1, 7, False, Kind.END),
    ]


async def after_all_broke(scene: Scene, *, silently: bool) -> list[object]:
    """What a command is answered, and then ten at once, after all connections of a pool broke while they were idle."""
    RedisServer(scene.network, Recorder(lambda: scene.loop.now_ns), Keys(1), {}, 0)
    connection = Connection(URL, timeout_ms=1_000)
    told: list[object] = []

    async def story() -> None:
        await asyncio.gather(*(connection.command("PING") for _ in range(10)))
        if silently:
            # Whoever is on the way has forgotten the connections there were.
            old = max(one.number for one in scene.network.connections)
            scene.network.rules.append(lambda packet: Verdict.HOLD if 0 < packet.connection <= old else None)
        else:
            scene.network.reset_all("redis")
            await asyncio.sleep(0.1)
        for count in (1, 10):
            calls = (connection.command("PING") for _ in range(count))
            told.extend(await asyncio.gather(*calls, return_exceptions=True))
        scene.network.rules.clear()
        scene.network.look_again()
        await connection.close()

    await scene.client.spawn(story())
    return told


@pytest.mark.parametrize("silently", [False, True])
def test_of_connections_that_broke_while_they_were_idle_no_more_than_one_costs_a_command(silently: bool) -> None:  # noqa: FBT001 - a parameter of the test
    told = play(lambda scene: after_all_broke(scene, silently=silently))

    assert isinstance(told[0], BrokerUnavailable)
    assert told[1:] == [b"PONG"] * 10
