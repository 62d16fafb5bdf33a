"""A worker's share that writes down who waits for a permit and who is given one; everything else about it is real."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgescale.harness.recording.recorder import Recorder
from edgescale.worker.share import Share

if TYPE_CHECKING:
    import asyncio


class RecordingShare(Share):
    """The share, with its line of waiting lanes in sight.

    Args:
        recorder: takes the events.
        actor: of the worker.
        total, weights: as the share's.
    """

    def __init__(self, recorder: Recorder, actor: str, total: int, weights: Mapping[str, int]) -> None:
        super().__init__(total, weights)
        self._recorder = recorder
        self._actor = actor

    def ask(self, lane: str) -> "asyncio.Future[bool]":
        """As the share's; writes `line` where the lane has to wait."""
        answer = super().ask(lane)
        if not answer.done():
            call = self._recorder.new_call()
            self._recorder.note(self._actor, "line", "invoke", call=call, lane=lane)
            answer.add_done_callback(lambda answer: self._left(call, answer))
        return answer

    def _left(self, call: int, answer: "asyncio.Future[bool]") -> None:
        served = not answer.cancelled() and answer.result()
        self._recorder.note(self._actor, "line", "ok" if served else "fail", call=call)

    def _grant(self, lane: str) -> None:
        super()._grant(lane)
        self._recorder.note(self._actor, "permit", lane=lane)
