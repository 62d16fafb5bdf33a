"""Task records and lanes as the wire shows them."""

from edgescale.broker.inspect import LaneStatus
from edgescale.broker.model import TaskRecord
from edgescale.v1 import ingestion_service_pb2, task_pb2

_STATES = {
    "queued": task_pb2.TASK_STATE_QUEUED,
    "running": task_pb2.TASK_STATE_RUNNING,
    "succeeded": task_pb2.TASK_STATE_SUCCEEDED,
    "failed": task_pb2.TASK_STATE_FAILED,
    "dead_lettered": task_pb2.TASK_STATE_DEAD_LETTERED,
    "expired": task_pb2.TASK_STATE_EXPIRED,
    "cancelled": task_pb2.TASK_STATE_CANCELLED,
}


def to_task(record: TaskRecord, *, deliveries: int = 0) -> task_pb2.Task:
    """The public view of a record.

    Args:
        record: as stored.
        deliveries: of a task that is still open; one or more shows it as running.
    """
    running = not record.terminal and deliveries > 0
    task = task_pb2.Task(
        request_id=record.request_id,
        kind=record.kind,
        lane=record.lane,
        state=task_pb2.TASK_STATE_RUNNING if running else _STATES[record.state],
        attempts=record.attempts or deliveries,
        file_id=record.file_id,
    )
    if record.replays:
        task.replays = record.replays
    if record.buried:
        task.burial.bury_time.FromMilliseconds(record.buried.buried_ms)
        task.burial.attempts = record.buried.attempts
        task.burial.error.reason, task.burial.error.message = record.buried.reason, record.buried.message
    if record.accepted_ms:
        task.accept_time.FromMilliseconds(record.accepted_ms)
    if record.terminal:
        task.settle_time.FromMilliseconds(record.settled_ms)
        if record.state == "succeeded":
            task.result.ParseFromString(record.result)
        else:
            task.error.reason = record.reason
            task.error.message = record.message
    return task


def to_lane(lane: LaneStatus) -> ingestion_service_pb2.Lane:
    """The public view of a lane."""
    message = ingestion_service_pb2.Lane(name=lane.name, backlog=lane.backlog, running=lane.running, cap=lane.cap)
    if lane.oldest_age_ms is not None:
        message.oldest_age.FromMilliseconds(lane.oldest_age_ms)
    for consumer in lane.consumers:
        row = message.consumers.add(name=consumer.name, running=consumer.running)
        row.idle.FromMilliseconds(consumer.idle_ms)
    return message
