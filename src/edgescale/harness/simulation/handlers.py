"""Handlers of simulated workers: the real ones for heartbeats and files, and one for texts that does as it is told.

The text is a script: words and numbers, in any order, the rest of it is mere content.

    work N       take N milliseconds
    fail N       raise an error at the first N attempts
    wait N       ask for another attempt at the first N attempts
    after N      ... in N milliseconds
    die N        take the whole process along at the first N attempts; it is started again after a second
    hang N       never come to an end at the first N attempts
    ill N        raise an error at every attempt in the first N milliseconds of the run
    reject       say that it can never succeed
"""

import asyncio
import re

from edgescale.handlers.base import Completed, Context, Handler, Outcome, Rejected, Retry
from edgescale.handlers.file import FileHandler
from edgescale.handlers.heartbeat import HeartbeatHandler
from edgescale.harness.history import NS_PER_MS
from edgescale.harness.simulation.services import Parts
from edgescale.v1.task_pb2 import TaskResult
from edgescale.v1.text_pb2 import Term, TextAnalysis, TextInput

REBIRTH_S = 1.0
_STEP = re.compile(r"(work|fail|wait|after|die|hang|ill) (\d+)")


class ScriptedHandler:
    """Does what the text says.

    The result tells which worker made it at which attempt, so that two results of one task are never the same.
    """

    kind = lane = "text"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        """As the script says."""
        text = TextInput.FromString(payload).text
        steps = {verb: int(number) for verb, number in _STEP.findall(text)}
        if context.attempt <= steps.get("die", 0):
            await self._die()
        if context.attempt <= steps.get("hang", 0):
            await asyncio.Event().wait()
        await asyncio.sleep(steps.get("work", 1) / 1000)
        if context.attempt <= steps.get("fail", 0) or self._parts.world.loop.now_ns < steps.get("ill", 0) * NS_PER_MS:
            raise RuntimeError("the script says so")
        if context.attempt <= steps.get("wait", 0):
            return Retry("NOT_YET", "the script says so", delay_ms=steps.get("after", 200))
        if "reject" in text:
            return Rejected("NEVER", "the script says so")
        return Completed(self._result(text, context))

    def _result(self, text: str, context: Context) -> bytes:
        made_by = Term(term=self._parts.node.actor, count=context.attempt)
        analysis = TextAnalysis(characters=len(text), words=context.attempt, top_terms=[made_by])
        return TaskResult(text_analysis=analysis).SerializeToString(deterministic=True)

    async def _die(self) -> None:
        world, node = self._parts.world, self._parts.node
        world.loop.call_later(REBIRTH_S, lambda: world.start_again(node), context=world.outside)
        world.crash(node)
        # Nothing of this process runs any more, this line's continuation included.
        await world.loop.create_future()


def simulated_handlers(parts: Parts) -> list[Handler]:
    """The handlers of one simulated worker."""
    return [HeartbeatHandler(parts.agents), ScriptedHandler(parts), FileHandler(parts.world.store)]
