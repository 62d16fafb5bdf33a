"""When a task may be started, from the members of a request."""

from datetime import datetime

from edgescale.v1.task_pb2 import Schedule


def schedule_of(not_before: datetime | None, expire_time: datetime | None) -> Schedule:
    """As ingestion takes it; whether the two go together is checked there.

    Args:
        not_before: None for at once.
        expire_time: None for never.
    """
    schedule = Schedule()
    if not_before is not None:
        schedule.not_before.FromDatetime(not_before)
    if expire_time is not None:
        schedule.expire_time.FromDatetime(expire_time)
    return schedule
