"""How a command ends: errors of the tree as one sentence on standard error, and an exit status."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, cast

from edgescale.errors import ConfigError, EdgeScaleError

EXIT_FAILED = 1
EXIT_USAGE = 2
# Source: the shell's convention of 128 plus the number of the signal.
EXIT_INTERRUPTED = 130


@contextmanager
def sentences() -> Iterator[None]:
    """End the process with a sentence where the block ends with an error of the tree; others are defects and pass."""
    try:
        yield
    except EdgeScaleError as error:
        _fail(error)
    except BaseExceptionGroup as group:
        matched, others = group.split(EdgeScaleError)
        if others is not None or matched is None:
            raise
        first: BaseException = matched
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        _fail(cast("EdgeScaleError", first))
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None


def _fail(error: EdgeScaleError) -> NoReturn:
    sys.stderr.write(f"edgescale: {error}\n")
    raise SystemExit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED)
