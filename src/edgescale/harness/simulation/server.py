"""The simulated Redis server: a model behind a network, that can stop, start, and lose what was not safe."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from edgescale.broker.keys import Keys
from edgescale.harness.recording.recorder import Recorder
from edgescale.harness.simulation.network import SimulatedNetwork
from edgescale.harness.simulation.node import EPOCH_MS, Node
from edgescale.harness.simulation.redis import RedisModel
from edgescale.harness.simulation.transport import SimulatedTransport
from edgescale.harness.simulation.watch import REDIS, Watch

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis import Session

PORT = 6379
URL = f"redis://{REDIS}:{PORT}/0"
Kept = Literal["aof", "synced", "replicated", "nothing"]
EVERYSEC_MS = 1_000
# Source: the configuration's maxclients.
PLACES = 10_000
NS_PER_US = 1_000


class RedisEnd(asyncio.Protocol):
    """The server's end of a connection: bytes in, bytes out of the model."""

    def __init__(self, model: RedisModel, transport: SimulatedTransport) -> None:
        self._session: Session = model.connect(transport.write, transport.close)

    def data_received(self, data: bytes) -> None:
        """Feed the model."""
        self._session.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the model."""
        del exc
        self._session.disconnect()


class TurnedAway(asyncio.Protocol):
    """The server's end of a connection for which it has no place. Source: acceptCommonHandler of Redis."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and hang up."""
        assert isinstance(transport, SimulatedTransport)  # noqa: S101 - there is no other
        transport.write(b"-ERR max number of clients reached\r\n")
        transport.close()


class RedisServer:
    """One server, under the name of `redis`.

    Args:
        network: where it listens.
        recorder: takes down what it does.
        keys: names of everything in it.
        options: of the model, such as `appendfsync` and `replica_lag_ms`.
        clock_ms: how wrong its clock is.

    Attributes:
        model: the server itself.
        watch: writes down what it does.
        places: how many connections it takes at once.
    """

    def __init__(
        self, network: SimulatedNetwork, recorder: Recorder, keys: Keys, options: Mapping[str, Any], clock_ms: int
    ) -> None:
        loop = network.loop
        self.node = Node(loop, REDIS)
        self.model = RedisModel(
            lambda: loop.now_ns // 1000,
            lambda delay_s, call: loop.call_later(delay_s, call, context=self.node.context).cancel,
            wall_offset_us=(EPOCH_MS + clock_ms) * 1000,
            **options,
        )
        self.model.scripts.strict = True
        self.watch = Watch(self.model, recorder, keys)
        self.places = PLACES
        self._network = network
        self._recorder = recorder
        self._behind_ms = 0
        self._listen()

    def _listen(self) -> None:
        self._network.listen(REDIS, REDIS, PORT, self._accept, context=self.node.context)

    def _accept(self, end: SimulatedTransport) -> asyncio.Protocol:
        if len(self.model.sessions) < self.places:
            return RedisEnd(self.model, end)
        self._recorder.mark(REDIS, "turned_away")
        return TurnedAway()

    @property
    def loss_window_ms(self) -> int:
        """How much of what was written a loss of power or a failover may take, at most.

        A replica that had been cut off when the server ended was behind by as long as that.
        """
        synced_ms = {"always": 0, "everysec": EVERYSEC_MS, "no": 30_000}[self.model.log.policy]
        return max(synced_ms, self.model.log.replica_lag_ms, self._behind_ms)

    def stop(self) -> bool:
        """End the process; connections are closed. False when it did not run."""
        if not self.model.running:
            return False
        self.watch.went_away()
        self._network.close_listener(REDIS, PORT)
        self.model.stop()
        log = self.model.log
        behind_us = log.now_us - log.first_lost_us(self.model.kept["replicated"])
        self._behind_ms = max(self._behind_ms, -(-behind_us // 1000))
        return True

    async def start(self, *, keep: Kept, loading_ms: int) -> None:
        """Start the process that was stopped, and wait until it serves.

        Args:
            keep: what it finds; see `Recovery.start`.
            loading_ms: how long it answers LOADING.
        """
        first_lost_us = self.model.log.first_lost_us(self.model.kept.get(keep, 0))
        lost = {"nothing": "all", "synced": "suffix", "replicated": "suffix"}.get(keep, "")
        self.model.start(keep=keep, loading_ms=loading_ms)
        self._listen()
        self.watch.came_back(lost=lost, since_ns=first_lost_us * NS_PER_US)
        await asyncio.sleep(loading_ms / 1000)
        self.watch.serves()

    def feed(self, *words: bytes) -> None:
        """Carry out a command on a connection of its own, whose reply nobody reads; nothing while it is down."""
        if not self.model.running:
            return
        session = self.model.connect(lambda _: None, lambda: None)
        session.feed(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
        session.disconnect()
