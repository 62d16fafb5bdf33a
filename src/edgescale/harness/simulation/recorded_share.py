"""A worker's share that writes down who asks for a permit and who is given one; everything else about it is real."""

import asyncio
from collections.abc import Mapping

from edgescale.harness.simulation.recording import Recorder
from edgescale.worker.share import Share


class RecordingShare(Share):
    """The share, in whose line each lane is seen to stand; where it never runs out of permits, nothing is written."""

    def __init__(self, recorder: Recorder, actor: str, total: int, weights: Mapping[str, int]) -> None:
        super().__init__(total, weights)
        self._recorder = recorder
        self._actor = actor

    def ask(self, lane: str) -> "asyncio.Future[bool]":
        """As the share's; writes `queue` and what it ends with."""
        call = self._recorder.new_call()
        self._recorder.note(self._actor, "queue", "invoke", call=call, lane=lane)
        answer = super().ask(lane)
        return answer
