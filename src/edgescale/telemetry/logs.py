"""Structured logs: JSON for machines, readable lines on a terminal, the request's ids on every line."""

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO

import structlog

ID_FIELDS = ("request_id", "file_id", "agent_id")
# Without the variables of each frame: payloads are among them, and belong in no log.
_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure_logs(*, service: str, log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process; call once, from the composition root.

    Args:
        service: stands on every line.
        log_format: `json`, `console`, or `auto` (console when the stream is a terminal).
        level: lowest level written: debug, info, warning or error.
        stream: standard error when None.
    """
    out = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    exceptions = [] if console else [structlog.processors.ExceptionRenderer(_TRACEBACKS)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)


@contextmanager
def silent_logs() -> Iterator[None]:
    """Have nothing written below critical, as where the same services run thousands of times over."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def get_log(**fields: object) -> structlog.typing.FilteringBoundLogger:
    """A logger with these fields on each of its lines."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger(**fields)
    return log


def bound_ids(**ids: str) -> AbstractContextManager[None]:
    """A context whose log lines all carry the given ids; empty ones are left out.

    Args:
        ids: any of request_id, file_id, agent_id.
    """
    return structlog.contextvars.bound_contextvars(**{name: ids[name] for name in ID_FIELDS if ids.get(name)})
