"""When the tasks of a plan are due, and when too late, by the clock of Redis.

Clients have right clocks: those of Redis. Whose clock is wrong names wrong times, and nobody could tell.
"""

from edgescale.harness.plan import Request
from edgescale.v1.task_pb2 import Schedule


def times_of(request: Request, now_ms: int) -> dict[str, int]:
    """`not_before_ms` and `expires_ms`, since 1970, of a request that is sent now; what is open is left out."""
    times = {"not_before_ms": request.not_before_ms, "expires_ms": request.expires_ms}
    return {name: now_ms + after_ms for name, after_ms in times.items() if after_ms}


def schedule_of(request: Request, now_ms: int) -> Schedule:
    """The same as services take it."""
    times, schedule = times_of(request, now_ms), Schedule()
    if "not_before_ms" in times:
        schedule.not_before.FromMilliseconds(times["not_before_ms"])
    if "expires_ms" in times:
        schedule.expire_time.FromMilliseconds(times["expires_ms"])
    return schedule
