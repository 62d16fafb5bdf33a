"""What outlives the server: its append-only file and its replica.

The log holds every change as the command that repeats its effect, in units: all effects of one script or transaction
are one unit, written whole or not at all. How much of it is on disk, and how much the replica has, follows from the
time of each unit. Source: Redis, "Redis persistence", "Redis replication".
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

Policy: TypeAlias = Literal["always", "everysec", "no"]
Unit: TypeAlias = list[tuple[bytes, ...]]
Watch: TypeAlias = Callable[[Unit], None]
# Between two syncs of the file. `no` leaves it to the operating system: on Linux about every 30 seconds.
_SYNC_PERIOD_US: dict[Policy, int] = {"always": 0, "everysec": 1_000_000, "no": 30_000_000}


class Log:
    """All changes since the base, oldest first. Units are counted from the first one ever.

    Args:
        policy: the configuration's appendfsync.
        replica_lag_ms: how far the replica is behind.

    Attributes:
        policy, replica_lag_ms: as above; may be changed.
        enabled: the configuration's appendonly.
        now_us: the time of what is being done, by a clock that never steps back.
        base: plain data that the first unit builds on; None for an empty server.
        dropped: how many units were folded into the base.
        watch: is told of each unit as it is closed, before anyone gets a reply: each change as the command that repeats
            its effect, its name in capitals. XADD has the entry's own id, an expiry is a DEL, EXPIRE is a PEXPIREAT, a
            delivery is an XCLAIM. Replaying the log tells nobody.
    """

    def __init__(self, policy: Policy, replica_lag_ms: int) -> None:
        self.policy = policy
        self.replica_lag_ms = replica_lag_ms
        self.enabled = True
        self.now_us = 0
        self.base: Any = None
        self.dropped = 0
        self.watch: Watch = lambda _unit: None
        # How much the replica had when it was cut off, None once it has caught up; and since when it follows again.
        self._held: int | None = None
        self._joined_us: int | None = None
        self._units: list[Unit] = []
        self._times_us: list[int] = []
        self._open: Unit = []

    def __len__(self) -> int:
        """How many units there ever were."""
        return self.dropped + len(self._units)

    @property
    def length(self) -> int:
        """How many units there are on top of the base."""
        return len(self._units)

    def record(self, words: tuple[bytes, ...]) -> None:
        """Add a change to the unit that is open."""
        self._open.append(words)

    def commit(self) -> None:
        """Close the unit, if there is anything in it."""
        if self._open:
            unit, self._open = self._open, []
            self._units.append(unit)
            self._times_us.append(self.now_us)
            self.watch(unit)

    def units(self, count: int) -> list[Unit]:
        """Those of the first `count` units that are not in the base."""
        return self._units[: max(count - self.dropped, 0)]

    def restart(self, base: Any) -> None:
        """Begin anew on this base."""
        self.dropped += len(self._units)
        self._open = []
        self._units.clear()
        self._times_us.clear()
        self.base = base
        # Whoever follows is sent everything anew.
        self._held = None

    def fold(self, count: int, base: Any) -> None:
        """This base stands for the present one and `count` units on top of it."""
        self.base = base
        self.dropped += count
        del self._units[:count]
        del self._times_us[:count]

    def synced(self) -> int:
        """How many units a power loss now would leave on disk."""
        if not self.enabled:
            return 0
        period_us = _SYNC_PERIOD_US[self.policy]
        if not period_us:
            return len(self)
        # What was done at the very moment of a sync is not in it.
        return self.dropped + bisect_left(self._times_us, self.now_us // period_us * period_us)

    def replicated(self) -> int:
        """How many units the replica has."""
        arrived_us = self.now_us - self.replica_lag_ms * 1000
        if self._held is not None:
            if self._joined_us is None or arrived_us < self._joined_us:
                return self._held
            self._held = None
        return self.dropped + bisect_right(self._times_us, arrived_us)

    def cut_off(self) -> None:
        """The replica hears nothing from now on; what was on its way to it is not there yet."""
        self._held, self._joined_us = self.replicated(), None

    def join(self) -> None:
        """The replica follows again: it has what it missed as soon as something sent now would have arrived."""
        self._joined_us = self.now_us

    def first_lost_us(self, count: int) -> int:
        """When the first unit was written that is not among the first `count`; now when there is none."""
        place = max(count - self.dropped, 0)
        return self._times_us[place] if place < len(self._times_us) else self.now_us

    def synced_in_us(self, count: int) -> int:
        """How long until the first `count` units are on disk."""
        period_us = _SYNC_PERIOD_US[self.policy]
        if count <= self.dropped or not period_us:
            return 0
        return max((self._time_us(count) // period_us + 1) * period_us - self.now_us, 0)

    def replicated_in_us(self, count: int) -> int:
        """How long until the replica has the first `count` units, if it follows then."""
        if count <= self.dropped:
            return 0
        sent_us = max(self._time_us(count), self._joined_us or 0)
        return max(sent_us + self.replica_lag_ms * 1000 - self.now_us, 0)

    def _time_us(self, count: int) -> int:
        return self._times_us[count - self.dropped - 1]
