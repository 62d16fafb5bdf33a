"""Who waits in this process for which request id; the inbox finds their results."""

import asyncio
from collections.abc import Iterable

from edgescale.broker.model import Submission, TaskRecord
from edgescale.errors import EdgeScaleError, NotFound


class OpenRequest:
    """All who wait in this process for one request id.

    Attributes:
        submission: what to submit again should Redis lose the task while we wait; None when only the id is known.
            Set once the task was accepted, never before: a refused request must not be queued behind its caller's back.
        watchers: those of the waiters who found the task there, and did not submit it.
    """

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.submission: Submission | None = None
        self.waiters: set[asyncio.Future[TaskRecord]] = set()
        self.watchers: set[asyncio.Future[TaskRecord]] = set()

    def is_other(self, record: TaskRecord) -> bool:
        """Whether the record is of other content: Redis lost the task, and somebody else took its id."""
        return self.submission is not None and record.digest not in {"", self.submission.digest}

    def resolve(self, record: TaskRecord) -> None:
        """Give the terminal record to all who wait."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(record)

    def fail(self, error: EdgeScaleError) -> None:
        """Give the error to all who wait."""
        _fail(self.waiters, error)

    def gone(self) -> None:
        """Tell those who found the task there that it is there no more."""
        _fail(self.watchers, NotFound(f"task {self.request_id!r} is not there any more; it was lost, or has expired"))


def _fail(waiters: Iterable[asyncio.Future[TaskRecord]], error: EdgeScaleError) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)


class Wait:
    """One caller's wait for one request id."""

    def __init__(self, request: OpenRequest, future: asyncio.Future[TaskRecord]) -> None:
        self._request = request
        self._future = future

    def found(self) -> None:
        """The task is there, by somebody else's submission."""
        self._request.watchers.add(self._future)

    def accepted(self, submission: Submission) -> None:
        """The task was accepted from this submission."""
        self._request.submission = submission

    async def result(self, timeout_s: float) -> TaskRecord | None:
        """The terminal record; None when the time ran out.

        Raises:
            NotFound: there is no such task any more.
        """
        done, _ = await asyncio.wait([self._future], timeout=max(timeout_s, 0))
        return self._future.result() if done else None
