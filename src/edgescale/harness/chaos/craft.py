"""Services of real processes, made of parts that write down what they see; everything else about them is real."""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from structlog.typing import EventDict, Processor

from edgescale.broker.fence import Fence
from edgescale.compose import Craft
from edgescale.handlers.base import Handler
from edgescale.harness.recording.recorded import RecordingBroker, RecordingHandler, RecordingInbox
from edgescale.harness.recording.recorded_fence import RecordingFence
from edgescale.harness.recording.recorder import Recorder
from edgescale.harness.scripted import ScriptedHandler
from edgescale.telemetry.events import Event

if TYPE_CHECKING:
    from edgescale.config import Settings

# What histories call the turns of a service's life.
LIFE = {Event.SERVICE_STARTED: "ready", Event.SERVICE_DRAINING: "stopping", Event.SERVICE_STOPPED: "stopped"}


def recording_craft(recorder: Recorder, actor: str, now_ns: Callable[[], int]) -> Craft:
    """Parts that tell a recorder.

    Args:
        recorder: takes the events.
        actor: the process, as histories name it.
        now_ns: since the run began.
    """

    def fence(settings: "Settings") -> Fence | None:
        return RecordingFence.around(Fence.of(settings), recorder, actor)

    def handlers(usual: Sequence[Handler], consumer: str) -> Sequence[Handler]:
        scripted = ScriptedHandler(actor, now_ns, _die)
        chosen = [scripted if handler.kind == scripted.kind else handler for handler in usual]
        return [RecordingHandler(handler, recorder, actor=actor, consumer=consumer) for handler in chosen]

    return Craft(
        fence=fence,
        broker=partial(RecordingBroker, recorder, actor),
        inbox=partial(RecordingInbox, recorder, actor),
        handlers=handlers,
    )


async def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives this")


def life_told(recorder: Recorder, actor: str, slots: str) -> Processor:
    """A processor of logs that writes down when the service is ready, is stopping, has stopped.

    Args:
        recorder: takes the events.
        actor: the process.
        slots: of a worker, as `lane=count,...`; empty for others.
    """

    def tell(_logger: object, _method: str, line: EventDict) -> EventDict:
        if operation := LIFE.get(line["event"]):
            told = {"slots": slots} if slots and operation == "ready" else {}
            recorder.write(actor, operation, "ok", None, "", told)
        return line

    return tell
