"""The share: how the lanes of a worker divide its places among them when there are fewer than the lanes could fill.

Start-time fair queueing. Each permit that a lane gets has a start on a common scale, and the lane's next one starts
1/weight later; the permit with the earliest start is given first. The scale moves on with the starts that are given,
and nobody starts in its past: so a lane that was idle has no claim on what it did not use.

The bound. Let a lane of weight w begin to wait, or wait on after a permit, when the scale is at v. Its permit starts at
v + 1/w at the latest. What another lane of weight u is given meanwhile starts between v and v + 1/w, in steps of 1/u:
that is floor(u/w) + 1 permits at most. With W the weights of all n lanes, the others get together no more than

    sum of floor(u/w) + 1 over the other lanes  <=  floor(W/w) + n - 2

permits before this lane gets one. It does not matter how ties are broken, or how long anybody was idle.
Source: Goyal, Vin, Cheng, "Start-time Fair Queuing", SIGCOMM 1996.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from math import lcm


class Share:
    """A worker's permits to run a task, one each.

    A lane asks for one when it could take an entry. Within a lane, whoever asked first is served first; between lanes
    that wait, the weights decide, and the name where these say nothing.

    Args:
        total: permits that there are.
        weights: of each lane that will ask; at least 1.
    """

    def __init__(self, total: int, weights: Mapping[str, int]) -> None:
        assert total > 0, "without a permit nothing would ever run"  # noqa: S101 - an invariant
        self.total = total
        self._free = total
        self._closed = False
        # In whole numbers, so that nothing is ever rounded: one step of the scale is 1/scale.
        scale = lcm(*weights.values())
        self._stride = {lane: scale // weight for lane, weight in weights.items()}
        self._line: dict[str, deque[asyncio.Future[bool]]] = {lane: deque() for lane in weights}
        # Where each lane's next permit would start, had it asked for it in time; and where the scale is.
        self._next = dict.fromkeys(weights, 0)
        self._now = 0

    def ask(self, lane: str) -> "asyncio.Future[bool]":
        """Ask for a permit; to be awaited with `granted`.

        Once the share is closed nobody waits: the answer is False where none is free.
        """
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._free:
            self._grant(lane)
            answer.set_result(True)
        elif self._closed:
            answer.set_result(False)
        else:
            self._line[lane].append(answer)
        return answer

    async def granted(self, answer: "asyncio.Future[bool]") -> bool:
        """Wait for the answer; who is cancelled meanwhile has asked for nothing."""
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.result():
                self.release()
            raise

    async def take(self, lane: str, most: int) -> int:
        """Wait for a permit, take up to `most` as long as nobody waits, and say how many; 0 for a closed share."""
        if not await self.granted(self.ask(lane)):
            return 0
        taken = 1
        while taken < most and self._free:
            self._grant(lane)
            taken += 1
        return taken

    def release(self, count: int = 1) -> None:
        """Give so many back; they go to those who wait."""
        self._free += count
        assert self._free <= self.total, "a permit was given back twice"  # noqa: S101 - an invariant
        while self._free and (lane := self._first()) is not None:
            answer = self._line[lane].popleft()
            # Who was cancelled meanwhile is passed over, and costs its lane nothing.
            if not answer.done():
                self._grant(lane)
                answer.set_result(True)

    def close(self) -> None:
        """Let nobody wait any more; those who do are answered with False."""
        self._closed = True
        for line in self._line.values():
            while line:
                answer = line.popleft()
                if not answer.done():
                    answer.set_result(False)

    def _first(self) -> str | None:
        """The waiting lane whose permit starts first; None when nobody waits."""
        waiting = [lane for lane, line in self._line.items() if line]
        return min(waiting, key=lambda lane: (self._start(lane), lane), default=None)

    def _start(self, lane: str) -> int:
        return max(self._next[lane], self._now)

    def _grant(self, lane: str) -> None:
        assert self._free > 0, "a permit was given that there is not"  # noqa: S101 - an invariant
        self._free -= 1
        self._now = self._start(lane)
        self._next[lane] = self._now + self._stride[lane]


def passed_over_max(lane: str, weights: Mapping[str, int]) -> int:
    """How many permits other lanes get at most while a lane waits for one; see the module's docstring."""
    return sum(weight // weights[lane] + 1 for other, weight in weights.items() if other != lane)
