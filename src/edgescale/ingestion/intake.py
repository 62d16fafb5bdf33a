"""The intake: what accepting and answering means, whatever the transport.

Every method either answers or raises one of the tree; an accepted task is never taken back by a caller who goes away.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from edgescale.broker.broker import Broker
from edgescale.broker.inbox import Inbox
from edgescale.broker.model import Receipt, Submission, TaskRecord
from edgescale.broker.waiting import Wait
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.envelope import ordered_id
from edgescale.errors import Conflict, Overloaded, StoreUnavailable, WaitExpired
from edgescale.ingestion.checks import check_heartbeat, check_ids, check_request_id, check_schedule, check_text
from edgescale.ingestion.patience import patience_for, within
from edgescale.ingestion.submissions import FILE, of_file, of_heartbeat, of_text
from edgescale.status import task_failed
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import bound_ids, get_log
from edgescale.uploads.assembler import Files, check_metadata, store_upload
from edgescale.v1 import file_pb2, heartbeat_pb2, task_pb2, text_pb2


class Intake:
    """Accepts requests, and waits for their results.

    Args:
        broker: takes tasks.
        inbox: brings results.
        store: keeps files.
        settings: limits and waits.
        chance: ids.
    """

    def __init__(self, broker: Broker, inbox: Inbox, store: Files, settings: Settings, chance: Chance) -> None:
        self._broker = broker
        self._inbox = inbox
        self._store = store
        self._settings = settings
        self._chance = chance
        self._log = get_log()

    async def heartbeat(
        self, beat: heartbeat_pb2.Heartbeat, *, request_id: str, traceparent: str, wait_s: float
    ) -> Receipt:
        """Queue a heartbeat; the receipt says whether the request id was known.

        Args:
            beat: as it came.
            request_id: the caller's, or empty.
            traceparent: W3C trace context, or empty.
            wait_s: how long the caller will listen.

        Raises:
            InvalidInput, Conflict, Overloaded, Unavailable: see `edgescale.errors`.
        """
        check_heartbeat(beat)
        request_id = self._request_id(request_id)
        submission = of_heartbeat(beat, request_id=request_id, traceparent=traceparent)
        with bound_ids(request_id=request_id, agent_id=beat.agent_id):
            return await self._submit(submission, inbox="", wait_s=wait_s)

    async def analyze(
        self,
        text: text_pb2.TextInput,
        *,
        request_id: str,
        traceparent: str,
        wait_s: float,
        respond_async: bool,
        schedule: task_pb2.Schedule,
        ordering_key: str = "",
    ) -> TaskRecord:
        """Queue a text and wait for its analysis.

        Args:
            text: as it came.
            request_id: the caller's, or empty.
            traceparent: W3C trace context, or empty.
            wait_s: how long the caller will listen.
            respond_async: answer once the task is accepted.
            schedule: when it may be started.
            ordering_key: of the tasks that are done one after the other; empty for none.

        Returns:
            The succeeded task's record; with `respond_async`, the task's record as it stands.

        Raises:
            InvalidInput, Conflict, Overloaded, Unavailable, WaitExpired, TaskFailed: see `edgescale.errors`.
        """
        check_text(text, text_bytes_max=self._settings.text_bytes_max)
        check_schedule(schedule)
        request_id = self._request_id(request_id, ordering_key)
        ids = {"request_id": request_id, "traceparent": traceparent, "ordering_key": ordering_key}
        submission = of_text(text, schedule=schedule, **ids)
        give_up = self._now() + wait_s
        with bound_ids(request_id=request_id), self._inbox.expect(request_id) as wait:
            receipt = await self._submit(submission, inbox=self._inbox.name, wait_s=wait_s)
            if respond_async:
                return receipt.record
            return await self._answer(wait, submission, receipt, give_up)

    async def upload(
        self,
        metadata: file_pb2.FileMetadata,
        chunks: AsyncIterator[bytes],
        *,
        request_id: str,
        traceparent: str,
        wait_s: float | None,
        respond_async: bool,
        schedule: task_pb2.Schedule,
        ordering_key: str = "",
    ) -> TaskRecord:
        """Store a file, queue it and wait for its report.

        A full lane is refused before the first chunk is taken; the caller's bytes are not wasted.

        Args:
            metadata: as it came.
            chunks: of the file, 1 byte to 64 KiB each, taken one at a time as they can be stored.
            request_id: the caller's, or empty.
            traceparent: W3C trace context, or empty.
            wait_s: how long the caller will listen, the upload included; None for as long as the upload takes and
                the usual wait after it.
            respond_async: answer once the task is accepted.
            schedule: when it may be started.
            ordering_key: of the tasks that are done one after the other; empty for none.

        Returns:
            The succeeded task's record; with `respond_async`, the task's record as it stands.

        Raises:
            InvalidInput, Conflict, Overloaded, Unavailable, WaitExpired, TaskFailed: see `edgescale.errors`.
        """
        check_metadata(metadata, upload_bytes_max=self._settings.upload_bytes_max)
        check_schedule(schedule)
        request_id = self._request_id(request_id, ordering_key)
        ids = {"request_id": request_id, "traceparent": traceparent, "ordering_key": ordering_key}
        file_id = self._chance.new_id()
        listens_until = None if wait_s is None else self._now() + wait_s
        with bound_ids(request_id=request_id, file_id=file_id):
            await within(patience_for(wait_s, self._settings) / 1000, self._broker.room(FILE, request_id))
            reference = await self._store_file(file_id, metadata, chunks)
            submission = of_file(reference, schedule=schedule, **ids)
            give_up = self._give_up(listens_until)
            with self._inbox.expect(request_id) as wait:
                receipt = await self._submit_file(submission, give_up - self._now())
                if respond_async:
                    return receipt.record
                # Should Redis lose the task, it is to be submitted again with the copy that was kept.
                reference.file_id = receipt.record.file_id
                submission = of_file(reference, schedule=schedule, **ids)
                return await self._answer(wait, submission, receipt, give_up)

    def _give_up(self, listens_until: float | None) -> float:
        """Until when the report of a stored file is waited for, by the loop's clock."""
        if listens_until is None:
            return self._now() + self._settings.wait_default_ms / 1000
        return min(listens_until, self._now() + self._settings.wait_max_ms / 1000)

    async def _store_file(
        self, file_id: str, metadata: file_pb2.FileMetadata, chunks: AsyncIterator[bytes]
    ) -> file_pb2.FileReference:
        try:
            reference = await store_upload(
                self._store, file_id, metadata, chunks, upload_bytes_max=self._settings.upload_bytes_max
            )
        except BaseException as error:
            self._log.info(Event.UPLOAD_BROKEN, error=type(error).__name__)
            raise
        self._log.info(Event.UPLOAD_STORED, size_bytes=reference.size_bytes, sha256=reference.sha256)
        return reference

    async def _submit_file(self, submission: Submission, wait_s: float) -> Receipt:
        """Queue the reference, and remove the stored bytes where no task will ever refer to them.

        When it is unknown whether the task was accepted the bytes stay: an unused blob is the lesser harm.
        """
        file_id = submission.envelope.file_id
        try:
            receipt = await self._submit(submission, inbox=self._inbox.name, wait_s=wait_s)
        except (Conflict, Overloaded):
            await self._discard(file_id)
            raise
        if receipt.record.file_id != file_id:
            await self._discard(file_id)
        return receipt

    async def _discard(self, file_id: str) -> None:
        # The caller is to hear what became of its request, not of our tidying.
        with suppress(StoreUnavailable):
            await self._store.delete(file_id)

    async def _submit(self, submission: Submission, *, inbox: str, wait_s: float) -> Receipt:
        patience_ms = patience_for(wait_s, self._settings)
        try:
            call = self._broker.submit(submission, inbox=inbox, patience_ms=patience_ms)
            receipt = await within(patience_ms / 1000, call)
        except (Conflict, Overloaded) as error:
            self._log.info(Event.TASK_REFUSED, lane=submission.lane, reason=error.reason)
            raise
        self._log.info(
            Event.TASK_ACCEPTED if receipt.accepted else Event.TASK_ATTACHED,
            lane=submission.lane,
            entry=receipt.record.entry,
        )
        return receipt

    async def _answer(self, wait: Wait, submission: Submission, receipt: Receipt, give_up: float) -> TaskRecord:
        """The result of a task that was just submitted."""
        record: TaskRecord | None = receipt.record
        if not receipt.record.terminal:
            wait.accepted(submission)
            record = await wait.result(give_up - self._now())
        if record is None:
            raise WaitExpired(submission.envelope.request_id)
        if record.state != "succeeded":
            raise task_failed(record.request_id, state=record.state, task_reason=record.reason, message=record.message)
        return record

    async def task(self, request_id: str, *, wait_s: float) -> tuple[TaskRecord, int]:
        """A task's record, and the deliveries of one that is still open.

        Args:
            request_id: of the task.
            wait_s: how long to wait for a terminal state; 0 for not at all.

        Raises:
            InvalidInput, NotFound, Unavailable: see `edgescale.errors`.
        """
        check_request_id(request_id, required=True)
        with bound_ids(request_id=request_id):
            record = await self._inbox.wait_for(request_id, wait_s)
            return record, 0 if record.terminal else await self._broker.deliveries(record)

    def _request_id(self, given: str, ordering_key: str = "") -> str:
        check_ids(given, ordering_key)
        return given or ordered_id(ordering_key, self._chance.new_id())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
