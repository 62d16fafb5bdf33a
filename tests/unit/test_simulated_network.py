"""Connections in memory: order is kept, faults hold, reset or delay, and healing lets go."""

import asyncio
from random import Random
from typing import Any

import pytest

from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.network import Latency, SimulatedNetwork
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
        network.reset_all("outside")
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


def test_a_reset_reaches_both_ends_and_loses_what_is_on_its_way() -> None:
    async def main(network: SimulatedNetwork) -> None:
        reader, writer = await connect()
        writer.write(b"lost;")
        network.reset_all("server")
        assert network.connections == []
        await reader.readuntil(b";")

    with pytest.raises(ConnectionResetError):
        in_network(main)


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
