"""The boundary to obstore: its exceptions end here."""

from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from edgescale.errors import StoreUnavailable


@contextmanager
def store_errors(*, file_may_be_missing: bool = False) -> Iterator[None]:
    """Make what obstore raises `StoreUnavailable`.

    Args:
        file_may_be_missing: let `FileNotFoundError` through. When writing it must not pass: there it says that the
            directory or the bucket is gone.

    Raises:
        FileNotFoundError: the store has no such file.
        StoreUnavailable: the store did not answer, or refused.
    """
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        # obstore raises FileNotFoundError, ValueError and, from its writers, OSError beside its own tree.
        if file_may_be_missing and isinstance(error, FileNotFoundError):
            raise
        raise StoreUnavailable("the blob store did not answer, or refused") from error
