"""What `strict` adds to a reply: it is told only once replicas have all that it tells of.

WAIT asks how many replicas have what its own connection wrote, and that is not enough. Whoever reads what another
connection wrote, or repeats what was done before, writes nothing: since Redis 7.2, WAIT tells him at once that every
replica has it. So a tiny write goes in between. The replicas get all writes in one order; who has the last has all that
came before it, whoever wrote it. Source: WAIT; docs/adr/0014.
"""

from dataclasses import dataclass, field

from edgescale.broker.keys import fence_of
from edgescale.broker.script import Argument, Script
from edgescale.config import Settings
from edgescale.errors import BrokerUnavailable
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

# The scripts whose replies tell of what must never be taken back: that a task was accepted, and how it ended.
TELLING = frozenset({"submit", "settle", "cancel", "replay", "lookup"})
# A script, as SET by itself is refused when memory is out, and then settling is what frees memory. Always sent whole:
# it is hardly longer than its hash.
BODY = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], '', 'PX', ARGV[1])"
LIVES_MS = 60_000


@dataclass(slots=True)
class Fence:
    """Keeps replies back until enough replicas have acknowledged.

    Attributes:
        replicas: how many.
        timeout_ms: how long they are waited for; the reply is not told then.
    """

    replicas: int
    timeout_ms: int
    _behind: set[str] = field(default_factory=set, init=False)

    @classmethod
    def of(cls, settings: Settings) -> "Fence | None":
        """The fence of these settings; None where nobody waits for replicas."""
        if settings.durability != "strict":
            return None
        # A third of what a command may take, so that two fit in, where a script has to be sent again: who gives up at
        # the server says why, a timeout of ours would not.
        return cls(settings.replicas_min, max(settings.redis_timeout_ms // 3, 1))

    def behind(self, script: Script, key: str) -> list[tuple[Argument, ...]]:
        """The commands to send behind a script, over the same connection; none where it tells of nothing that lasts.

        Args:
            script: that is run.
            key: one that it touches.
        """
        if script.name not in TELLING:
            return []
        return [("EVAL", BODY, 1, fence_of(key), LIVES_MS), ("WAIT", self.replicas, self.timeout_ms)]

    def passed(self, key: str, acknowledged: int) -> None:
        """Take the reply of WAIT.

        Args:
            key: as it was given to `behind`.
            acknowledged: by so many replicas.

        Raises:
            BrokerUnavailable: too few; what was done may be lost yet, or may stay.
        """
        behind, fence = acknowledged < self.replicas, fence_of(key)
        if behind is not (fence in self._behind):
            # Once per outage and partition, or each call would have a line of its own.
            self._behind ^= {fence}
            figures = {"acknowledged": acknowledged, "replicas_min": self.replicas}
            if behind:
                get_log().warning(Event.REPLICAS_BEHIND, **figures)
            else:
                get_log().info(Event.REPLICAS_FOLLOW, **figures)
        if behind:
            raise BrokerUnavailable(
                f"{acknowledged} of {self.replicas} replicas acknowledged within {self.timeout_ms} ms"
            )
