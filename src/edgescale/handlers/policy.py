"""How a kind's tasks are tried: how often, how long, after which pauses, and what no other try could mend."""

from dataclasses import dataclass

from edgescale.config import Settings
from edgescale.errors import ConfigError

BACKOFF_BASE_MS, BACKOFF_MAX_MS = 250, 60_000
# Further ones would only make large numbers.
DOUBLINGS_MAX = 30


@dataclass(frozen=True, slots=True)
class Policy:
    """What a handler may say of its kind. What it leaves open is as the worker's settings have it.

    Attributes:
        attempts_max: deliveries after which a task is dead-lettered, those included that end with a worker's death.
        timeout_ms: of one delivery; a handler that takes longer is stopped, and the attempt has failed.
        backoff_base_ms: the most that the first pause takes; it doubles from attempt to attempt.
        backoff_max_ms: the most that any pause takes.
        final: errors that no other attempt could mend: the task fails at once.

    Raises:
        ConfigError: a number is below 1, or the first pause above the longest.
    """

    attempts_max: int | None = None
    timeout_ms: int | None = None
    backoff_base_ms: int = BACKOFF_BASE_MS
    backoff_max_ms: int = BACKOFF_MAX_MS
    final: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("attempts_max", "timeout_ms", "backoff_base_ms", "backoff_max_ms"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"policy: {name} must be at least 1, not {value}")
        if self.backoff_base_ms > self.backoff_max_ms:
            longest = f"backoff_max_ms ({self.backoff_max_ms})"
            raise ConfigError(f"policy: backoff_base_ms ({self.backoff_base_ms}) must not be above {longest}")

    def filled(self, settings: Settings) -> "Terms":
        """The policy with nothing left open."""
        return Terms(
            self.attempts_max or settings.attempts_max,
            self.timeout_ms or settings.handler_timeout_ms,
            self.backoff_base_ms,
            self.backoff_max_ms,
            self.final,
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """A policy with nothing left open; see `Policy`."""

    attempts_max: int
    timeout_ms: int
    backoff_base_ms: int
    backoff_max_ms: int
    final: tuple[type[Exception], ...]

    def pause_max_ms(self, attempt: int) -> int:
        """The most that the pause after this attempt takes, the first one being 1. The pause itself is drawn evenly.

        Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
        """
        return min(self.backoff_base_ms << min(attempt - 1, DOUBLINGS_MAX), self.backoff_max_ms)
