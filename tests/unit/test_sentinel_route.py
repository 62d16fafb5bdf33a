"""The way of commands to the primary that a sentinel names."""

from edgescale.broker.connection import Connection
from tests.fake_nodes import FakeNode, bulk, fake_nodes
from tests.support import ends_when_cancelled


def one_primary(node: FakeNode) -> bytes:
    """A reply to SENTINEL MASTERS."""
    told: dict[str, str | int] = {"name": "primary", "ip": node.node.host, "port": node.node.port, "flags": "master"}
    told |= {"num-other-sentinels": 2, "num-slaves": 1}
    words = [word for pair in told.items() for word in pair]
    return b"*1\r\n*%d\r\n" % len(words) + b"".join(bulk(word) for word in words)


async def test_a_cancellation_is_not_swallowed_while_a_sentinel_is_asked() -> None:
    async with fake_nodes(2) as (sentinel, primary):
        sentinel.answer = lambda _: one_primary(primary)
        for turns in range(40):
            connection = Connection(
                f"redis+sentinel://{sentinel.node.host}:{sentinel.node.port}/primary", timeout_ms=1_000
            )
            assert await ends_when_cancelled(connection, turns), f"it goes on ({turns})"
            await connection.close()
    assert sentinel.heard
    assert primary.heard
