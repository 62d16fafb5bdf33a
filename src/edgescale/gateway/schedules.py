"""When a task may be started, and in which order, from the members of a request."""

from datetime import datetime

from edgescale.v1.task_pb2 import Schedule

NOT_BEFORE = "The task is not started before; RFC 3339 with an offset."
EXPIRE_TIME = "A task that was not started by then expires, and is answered with 504; RFC 3339 with an offset."
ORDERING_KEY = "Tasks of one key are done one at a time, in the order of acceptance; 1 to 64 of A-Z a-z 0-9 . _ ~ -."


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
