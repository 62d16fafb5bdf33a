"""Connections in memory: order is kept, faults hold, reset or delay, and healing lets go."""

import asyncio
from random import Random
from typing import Any

import pytest

from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.network import Latency, SimulatedNetwork
from edgescale.harness.simulation.node import Node
from edgescale.harness.simulation.packets import Packet, Verdict
from edgescale.harness.simulation.transport import SimulatedTransport


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def __init__(self, transport: SimulatedTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


# Streams that are collected while they are open would warn.
KEPT: list[asyncio.StreamWriter] = []


async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("server", 1)
    KEPT.append(writer)
    return reader, writer


def in_network(main: Any, seed: int = 1) -> Any:
    loop = SimulationLoop(Random(seed))  # type: ignore[abstract] # the rest is set by name
    network = SimulatedNetwork(loop, Random(seed), Latency(fragment_probability=0.5))
    loop.network = network
    network.listen("server", "server", 1, Echo)
    try:
        return loop.run_until_complete(main(network))
    finally:
        for connection in list(network.connections):
            connection.cut()
        KEPT.clear()


def towards(target: str, verdict: Verdict | float) -> Any:
    def rule(packet: Packet) -> Verdict | float | None:
        return verdict if packet.target == target else None

    return rule


@pytest.mark.parametrize("seed", range(20))
def test_bytes_arrive_in_order_whatever_their_latency_and_fragments(seed: int) -> None:
    async def main(_: SimulatedNetwork) -> bytes:
        reader, writer = await connect()
        for number in range(50):
            writer.write(f"{number};".encode())
        return await reader.readuntil(b"49;")

    assert in_network(main, seed) == "".join(f"{number};" for number in range(50)).encode()


def test_nobody_listens_means_refused() -> None:
    async def main(network: SimulatedNetwork) -> None:
        network.close_listener("server", 1)
        await connect()

    with pytest.raises(ConnectionRefusedError):
        in_network(main)


def test_a_black_hole_holds_what_is_sent_until_it_is_healed() -> None:
    async def main(network: SimulatedNetwork) -> tuple[bytes, float]:
        reader, writer = await connect()
        with network.rule(towards("server", Verdict.HOLD)):
            writer.write(b"held;")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10):
                    await reader.readuntil(b";")
        return await reader.readuntil(b";"), asyncio.get_running_loop().time()

    answer, seconds = in_network(main)
    assert answer == b"held;"
    assert 10 < seconds < 11


def test_one_direction_can_be_cut_alone() -> None:
    async def main(network: SimulatedNetwork) -> bytes:
        reader, writer = await connect()
        with network.rule(towards("outside", Verdict.HOLD)):
            writer.write(b"there;")
            await asyncio.sleep(1)
            assert network.connections[0].far.get_write_buffer_size() == len(b"there;")
        return await reader.readuntil(b";")

    assert in_network(main) == b"there;"


def test_a_cut_takes_both_ends_and_loses_what_is_on_its_way() -> None:
    async def main(network: SimulatedNetwork) -> None:
        reader, writer = await connect()
        writer.write(b"lost;")
        network.connections[0].cut()
        assert network.connections == []
        await reader.readuntil(b";")

    with pytest.raises(ConnectionResetError):
        in_network(main)


def test_a_reset_reaches_both_ends_behind_what_was_sent() -> None:
    async def main(network: SimulatedNetwork) -> tuple[bytes, float]:
        reader, writer = await connect()
        network.connections[0].far.write(b"last words;")
        network.reset_all("server")
        heard = await reader.readuntil(b";")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        assert writer.is_closing()
        noticed = asyncio.get_running_loop().time()
        await asyncio.sleep(0.01)
        assert network.connections == []
        return heard, noticed

    heard, seconds = in_network(main)
    assert heard == b"last words;"
    assert 0 < seconds < 0.01


def test_behind_a_black_hole_a_reset_is_noticed_after_the_heal() -> None:
    async def main(network: SimulatedNetwork) -> None:
        reader, writer = await connect()
        with network.rule(towards("outside", Verdict.HOLD)):
            network.reset_all("server")
            writer.write(b"into the void;")
            await asyncio.sleep(10)
            assert not writer.is_closing()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        assert asyncio.get_running_loop().time() < 11

    in_network(main)


def test_of_what_is_held_nothing_arrives_once_its_sender_is_reset() -> None:
    async def main(network: SimulatedNetwork) -> None:
        reader, _ = await connect()
        with network.rule(towards("outside", Verdict.HOLD)):
            network.connections[0].far.write(b"never sent;")
            network.reset_all("server")
        with pytest.raises(ConnectionResetError):
            await reader.readuntil(b";")

    in_network(main)


def test_an_abort_is_a_reset_to_the_other_end() -> None:
    async def main(network: SimulatedNetwork) -> None:
        reader, _ = await connect()
        network.connections[0].far.abort()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)

    in_network(main)


def test_a_close_behind_a_black_hole_is_noticed_after_the_heal() -> None:
    async def main(network: SimulatedNetwork) -> bytes:
        reader, _ = await connect()
        with network.rule(towards("outside", Verdict.HOLD)):
            network.connections[0].far.write(b"bye;")
            network.connections[0].far.close()
            await asyncio.sleep(10)
            assert not reader.at_eof()
        return await reader.read()

    assert in_network(main) == b"bye;"


class Life:
    """A node that keeps a connection to the server open, and writes down what happens to it."""

    def __init__(self, network: SimulatedNetwork, name: str = "client") -> None:
        self.node = Node(network.loop, name)
        self.heard: list[str] = []
        self.transport: Any = None
        self.node.spawn(self._connect(network))

    async def _connect(self, network: SimulatedNetwork) -> None:
        self.transport, _ = await network.create_connection(lambda: Listening(self.heard), "server", 1)


class Listening(asyncio.Protocol):
    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        self._heard.append(data.decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard.append(type(exc).__name__)


async def served(network: SimulatedNetwork) -> tuple[Node, list[str]]:
    """A server that is a node, and what it hears."""
    server = Node(network.loop, "server")
    heard: list[str] = []
    server.context.run(network.listen, "server", "server", 1, lambda _: Listening(heard))
    return server, heard


def test_a_process_that_dies_resets_its_peers() -> None:
    async def main(network: SimulatedNetwork) -> tuple[list[str], list[str]]:
        _, heard = await served(network)
        life = Life(network)
        await asyncio.sleep(1)
        life.node.crash()
        network.reset_all("client")
        await asyncio.sleep(1)
        assert network.connections == []
        return heard, life.heard

    assert in_network(main) == (["ConnectionResetError"], [])


def test_a_machine_that_falls_silent_leaves_half_open_connections_whose_writes_vanish() -> None:
    async def main(network: SimulatedNetwork) -> tuple[list[str], list[str]]:
        server, heard = await served(network)
        life = Life(network)
        await asyncio.sleep(1)
        server.crash()
        life.transport.write(b"is anybody there?")
        await asyncio.sleep(3600)
        assert not life.transport.is_closing()
        assert life.transport.get_write_buffer_size() == len(b"is anybody there?")
        return heard, life.heard

    assert in_network(main) == ([], [])


def test_what_was_sent_before_a_crash_arrives() -> None:
    async def main(network: SimulatedNetwork) -> list[str]:
        _, heard = await served(network)
        life = Life(network)
        await asyncio.sleep(1)
        life.transport.write(b"last words")
        life.node.crash()
        await asyncio.sleep(1)
        return heard

    assert "".join(in_network(main)) == "last words"


@pytest.mark.parametrize(
    ("end", "left"), [("silence", []), ("death", ["ConnectionResetError"]), ("close, then death", ["held", "NoneType"])]
)
def test_how_a_process_ended_decides_what_becomes_of_what_was_held(end: str, left: list[str]) -> None:
    async def main(network: SimulatedNetwork) -> list[str]:
        _, heard = await served(network)
        life = Life(network)
        await asyncio.sleep(1)
        with network.rule(towards("server", Verdict.HOLD)):
            life.transport.write(b"held")
            if end.startswith("close"):
                life.transport.close()
                await asyncio.sleep(1)
            life.node.crash()
            if end != "silence":
                network.reset_all("client")
            await asyncio.sleep(10)
            assert heard == []
        await asyncio.sleep(10)
        return heard

    heard = in_network(main)
    assert ["".join(heard[:-1]), heard[-1]] == left if len(left) > 1 else heard == left


def test_a_frozen_node_reads_what_came_once_it_thaws() -> None:
    async def main(network: SimulatedNetwork) -> list[str]:
        server, heard = await served(network)
        life = Life(network)
        await asyncio.sleep(1)
        server.pause()
        life.transport.write(b"one,")
        life.transport.write(b"two")
        await asyncio.sleep(10)
        assert heard == []
        server.resume()
        # One turn: nothing that came meanwhile has to travel any more.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return heard

    assert "".join(in_network(main)) == "one,two"


def test_writes_that_follow_each_other_share_their_latency() -> None:
    async def main(network: SimulatedNetwork) -> float:
        reader, writer = await connect()
        before = network.loop.time()
        for _ in range(1000):
            writer.write(b"x")
        await reader.readexactly(1000)
        return network.loop.time() - before

    assert in_network(main) < 0.005


def test_a_delay_is_added_to_the_latency() -> None:
    async def main(network: SimulatedNetwork) -> float:
        reader, writer = await connect()
        before = asyncio.get_running_loop().time()
        with network.rule(towards("server", 3.0)):
            writer.write(b"x")
            await reader.readexactly(1)
        return asyncio.get_running_loop().time() - before

    assert 3.0 < in_network(main) < 3.1


def test_a_sender_is_paused_while_nobody_reads() -> None:
    async def main(network: SimulatedNetwork) -> tuple[bool, bytes]:
        reader, writer = await connect()
        network.connections[0].far.pause_reading()
        writer.write(b"x" * 200_000)
        drained = asyncio.create_task(writer.drain())
        await asyncio.sleep(5)
        waited = not drained.done()
        network.connections[0].far.resume_reading()
        await drained
        return waited, await reader.readexactly(200_000)

    assert in_network(main) == (True, b"x" * 200_000)


def test_the_end_of_a_stream_arrives_behind_what_was_written() -> None:
    async def main(_: SimulatedNetwork) -> bytes:
        reader, writer = await connect()
        writer.write(b"last words;")
        answer = await reader.readuntil(b";")
        writer.close()
        return answer

    assert in_network(main) == b"last words;"
