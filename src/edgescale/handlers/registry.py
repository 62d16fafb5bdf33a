"""Which handler serves which kind. A registry is made by the composition root and passed in, never global."""

from collections.abc import Iterable, Iterator

from edgescale.errors import ConfigError
from edgescale.handlers.base import Handler
from edgescale.handlers.policy import Policy


class Registry:
    """The handlers of a worker, by kind."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._handlers: dict[str, Handler] = {}
        for handler in handlers:
            if handler.kind in self._handlers:
                raise ConfigError(f"two handlers for kind {handler.kind!r}")
            self._handlers[handler.kind] = handler

    def __iter__(self) -> Iterator[Handler]:
        """All handlers, in the order of their registration."""
        return iter(self._handlers.values())

    def get(self, kind: str) -> Handler | None:
        """The kind's handler, or None when this worker knows none."""
        return self._handlers.get(kind)

    def policy(self, kind: str) -> Policy:
        """How the kind's tasks are tried; the usual way where its handler says nothing, or is not known."""
        return getattr(self._handlers.get(kind), "policy", None) or Policy()

    def lanes(self) -> frozenset[str]:
        """The lanes that these handlers are served from."""
        return frozenset(handler.lane for handler in self)
