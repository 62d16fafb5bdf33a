"""A handler of texts that does as it is told.

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
from collections.abc import Awaitable, Callable

from edgescale.handlers.base import Completed, Context, Outcome, Rejected, Retry
from edgescale.harness.header import NS_PER_MS
from edgescale.v1.task_pb2 import TaskResult
from edgescale.v1.text_pb2 import Term, TextAnalysis, TextInput

_STEP = re.compile(r"(work|fail|wait|after|die|hang|ill) (\d+)")


class ScriptedHandler:
    """Does what the text says.

    The result tells which worker made it at which attempt, so that two results of one task are never the same.

    Args:
        actor: the worker.
        now_ns: since the run began.
        die: takes the worker's process along, and never returns.
    """

    kind = lane = "text"

    def __init__(self, actor: str, now_ns: Callable[[], int], die: Callable[[], Awaitable[object]]) -> None:
        self._actor = actor
        self._now_ns = now_ns
        self._die = die

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        """As the script says."""
        text = TextInput.FromString(payload).text
        steps = {verb: int(number) for verb, number in _STEP.findall(text)}
        if context.attempt <= steps.get("die", 0):
            await self._die()
        if context.attempt <= steps.get("hang", 0):
            await asyncio.Event().wait()
        await asyncio.sleep(steps.get("work", 1) / 1000)
        if context.attempt <= steps.get("fail", 0) or self._now_ns() < steps.get("ill", 0) * NS_PER_MS:
            raise RuntimeError("the script says so")
        if context.attempt <= steps.get("wait", 0):
            return Retry("NOT_YET", "the script says so", delay_ms=steps.get("after", 200))
        if "reject" in text:
            return Rejected("NEVER", "the script says so")
        return Completed(self._result(text, context))

    def _result(self, text: str, context: Context) -> bytes:
        made_by = Term(term=self._actor, count=context.attempt)
        analysis = TextAnalysis(characters=len(text), words=context.attempt, top_terms=[made_by])
        return TaskResult(text_analysis=analysis).SerializeToString(deterministic=True)
