"""An upload that shows how far it is."""

import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from edgescale.client import Client
from edgescale.config import CHUNK_BYTES_MAX
from edgescale.v1 import task_pb2


async def upload_with_progress(
    client: Client, path: Path, *, request_id: str = "", ordering_key: str = ""
) -> task_pb2.Task:
    """Stream a file with a bar on standard error, where that is a terminal.

    The size is declared, so that a file that changes meanwhile is refused instead of stored in part.

    Raises:
        OSError: the file cannot be read.
        EdgeScaleError: see `Client.upload_file`.
    """
    size_bytes = path.stat().st_size
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        shown = bar.add_task(path.name, total=size_bytes)

        async def chunks() -> AsyncIterator[bytes]:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES_MAX):
                    yield chunk
                    bar.advance(shown, len(chunk))

        return await client.upload_file(
            chunks(), name=path.name, size_bytes=size_bytes, request_id=request_id, ordering_key=ordering_key
        )


def sha256_of(path: Path) -> str:
    """64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
