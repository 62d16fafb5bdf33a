"""The fence of `strict`, written down."""

from edgescale.broker.fence import Fence
from edgescale.harness.recording.recorder import Recorder


class RecordingFence(Fence):
    """The fence, with what only it can see marked down."""

    def __init__(self, recorder: Recorder, actor: str, *figures: int) -> None:
        super().__init__(*figures)
        self.recorder = recorder
        self.actor = actor
        self._missed = False

    @classmethod
    def around(cls, fence: Fence | None, recorder: Recorder, actor: str) -> "RecordingFence | None":
        """One with the same figures; None for none."""
        return None if fence is None else cls(recorder, actor, fence.replicas, fence.timeout_ms)

    def passed(self, key: str, acknowledged: int) -> None:
        """As the fence's; marks an acknowledgement that came in the end."""
        missed, self._missed = self._missed, True
        super().passed(key, acknowledged)
        self._missed = False
        if missed:
            self.recorder.mark(self.actor, "acknowledged_late")
