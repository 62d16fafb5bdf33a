"""Who waits in this process for which request id; the inbox finds their results."""

import asyncio
from collections.abc import Callable, Collection

from edgescale.broker.model import Submission, TaskRecord
from edgescale.errors import Conflict, EdgeScaleError, NotFound


class Wait:
    """One caller's wait for one request id.

    Args:
        request_id: of the task.
        ask_again: has the task's record read anew.

    Attributes:
        submission: what to submit again should Redis lose the task while we wait; None when only the id is known.
            Set once the task was accepted, never before: a refused request must not be queued behind its caller's back.
    """

    def __init__(self, request_id: str, ask_again: Callable[[], None]) -> None:
        self.submission: Submission | None = None
        self.ask_again = ask_again
        self._request_id = request_id
        self._watches = False
        self._future: asyncio.Future[TaskRecord] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Whether there is an outcome."""
        return self._future.done()

    def found(self) -> None:
        """The task is there, by somebody else's submission."""
        self._watches = True

    def accepted(self, submission: Submission) -> None:
        """The task was accepted from this submission.

        A record with other content that was heard of until then may be of an earlier life of the id: it is read anew.
        """
        self.submission = submission
        if self.over and not self._future.exception() and self.is_other(self._future.result()):
            self._future = asyncio.get_running_loop().create_future()
            self.ask_again()

    def hear(self, record: TaskRecord) -> None:
        """The task's record as it stands."""
        if self.is_other(record):
            self.fail(self._conflict())
        elif record.terminal and not self.over:
            self._future.set_result(record)

    def gone(self) -> None:
        """There is no record any more; only who found the task there did not know better."""
        if self._watches:
            self.fail(NotFound(f"task {self._request_id!r} is not there any more; it was lost, or has expired"))

    def fail(self, error: EdgeScaleError) -> None:
        """End it with an error."""
        if not self.over:
            self._future.set_exception(error)

    def close(self) -> None:
        """Nobody waits any more."""
        self._future.cancel()

    async def result(self, timeout_s: float) -> TaskRecord | None:
        """The terminal record; None when the time ran out.

        Raises:
            NotFound: there is no such task any more.
            Conflict: Redis lost the task, and a request with other content took its id.
        """
        done, _ = await asyncio.wait([self._future], timeout=max(timeout_s, 0))
        if not done:
            return None
        return self._future.result()

    def is_other(self, record: TaskRecord) -> bool:
        """Whether a record is of other content than what was accepted from this caller."""
        return self.submission is not None and record.digest not in {"", self.submission.digest}

    def _conflict(self) -> Conflict:
        return Conflict(f"request id {self._request_id!r} was taken by a request with other content")


class OpenRequest:
    """All who wait in this process for one request id; not all of them need mean the same content by it.

    Attributes:
        waits: as they came.
    """

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.waits: list[Wait] = []

    @property
    def submission(self) -> Submission | None:
        """What to submit again: of those who still wait, the first one's whose task was accepted."""
        return next((wait.submission for wait in self.waits if wait.submission and not wait.over), None)

    @property
    def accepted(self) -> list[Wait]:
        """Those whose task was accepted by now."""
        return [wait for wait in self.waits if wait.submission is not None]

    def hear(self, record: TaskRecord, *, known: Collection[Wait]) -> None:
        """Tell everybody of the record.

        Args:
            record: as it stood.
            known: whose task had been accepted when it was asked for. To others it may be of an earlier life of the id,
                and where it is not theirs it is read anew.
        """
        for wait in self.waits:
            if wait in known or not wait.is_other(record):
                wait.hear(record)
            else:
                wait.ask_again()

    def gone(self) -> None:
        """Tell everybody that there is no record."""
        for wait in self.waits:
            wait.gone()

    def fail(self, error: EdgeScaleError, *, of: Submission | None = None) -> None:
        """End all waits with an error, or those that mean what this submission does."""
        for wait in self.waits:
            if of is None or (wait.submission is not None and wait.submission.digest == of.digest):
                wait.fail(error)
