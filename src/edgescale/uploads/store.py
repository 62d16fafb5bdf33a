"""The blob store: where the bytes of files are kept, by file id alone.

A process that dies in the middle of an upload may leave bytes behind that no reader can see: `<file_id>#<number>` in a
local directory, an unfinished multipart upload in a bucket, for which the bucket wants a lifecycle rule.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from edgescale.errors import ConfigError, InvalidInput
from edgescale.uploads.faults import store_errors
from edgescale.uploads.writer import BlobWriter

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

FILE_ID = re.compile(r"[0-9a-f]{32}")
READ_BYTES = 256 * 1024
# A read that brings nothing for so long is given up; obstore waits for ever when a local file shrinks under it.
STALL_S = 60.0

# The variables that obstore reads for each kind of remote store begin with this.
ENV_PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# What the variables may say of the HTTP client, such as AWS_ALLOW_HTTP. Source: obstore's ClientConfig.
CLIENT_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "read_timeout",
    "timeout",
)
RETRIES: "RetryConfig" = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=15),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}


class BlobStore:
    """Keeps files. Their names never come from outside: a key is made of nothing but the file id.

    Args:
        store: any store of obstore.
    """

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._undoing: set[asyncio.Task[None]] = set()

    @classmethod
    def open(cls, url: str) -> "BlobStore":
        """The store at a URL. A directory is made when it is missing; nothing else is contacted yet.

        Args:
            url: `file:///directory`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
                Credentials and endpoint come from the environment, in the variables that obstore reads
                (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `AZURE_STORAGE_ACCOUNT_NAME`, ...).

        Raises:
            ConfigError: the URL, the directory or the environment cannot work.
        """
        try:
            return cls(_connected(url, os.environ))
        except (BaseError, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"blob_url {url!r} cannot be used ({reason}); it must be file:///directory, s3://bucket/prefix, "
                "gs://bucket/prefix or az://container/prefix"
            ) from error

    @asynccontextmanager
    async def writer(self, file_id: str) -> AsyncIterator[BlobWriter]:
        """Take a file in: visible as a whole once the block has ended, without a trace when it raises or is cancelled.

        Memory is bounded by three parts of 5 MiB, whatever the file's size.

        Raises:
            InvalidInput: the file id is none.
            StoreUnavailable: the store did not answer, or refused.
        """
        blob = BlobWriter(self._store, _key(file_id))
        try:
            yield blob
            await blob.commit()
        except BaseException:
            await self._to_the_end(blob.undo())
            raise

    async def read(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, in pieces of 256 to 512 KiB, the last one excepted.

        Raises:
            InvalidInput: the file id is none.
            FileNotFoundError: there is no such file.
            StoreUnavailable: the store did not answer, refused, or fell silent.
        """
        with store_errors(file_may_be_missing=True):
            found = await obstore.get_async(self._store, _key(file_id))
            pieces = found.stream(min_chunk_size=READ_BYTES)
            while True:
                async with asyncio.timeout(STALL_S):
                    piece = await anext(pieces, b"")
                if not piece:
                    return
                yield piece

    async def size(self, file_id: str) -> int | None:
        """How many bytes a file has; None when there is no such file.

        Raises:
            InvalidInput, StoreUnavailable: as in `read`.
        """
        try:
            with store_errors(file_may_be_missing=True):
                return (await obstore.head_async(self._store, _key(file_id)))["size"]
        except FileNotFoundError:
            return None

    async def delete(self, file_id: str) -> None:
        """Remove a file; one that is not there is as good as removed.

        Raises:
            InvalidInput, StoreUnavailable: as in `read`.
        """
        try:
            with store_errors(file_may_be_missing=True):
                await obstore.delete_async(self._store, _key(file_id))
        except FileNotFoundError:
            return

    async def aclose(self) -> None:
        """Wait until the remains of broken uploads are removed."""
        await asyncio.gather(*self._undoing)

    async def _to_the_end(self, undo: Coroutine[Any, Any, None]) -> None:
        # A caller may be cancelled a second time; the clearing goes on, and the set keeps it from being collected.
        task = asyncio.create_task(undo)
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)
        await asyncio.shield(task)


def _key(file_id: str) -> str:
    if not FILE_ID.fullmatch(file_id):
        raise InvalidInput("file_id", "must be 32 hexadecimal digits in lower case")
    return f"files/{file_id}"


def _connected(url: str, environ: Mapping[str, str]) -> "ObjectStore":
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return _writable(from_url(url, mkdir=True))
    if scheme not in ENV_PREFIXES:
        raise ValueError("unknown scheme")
    options = _client_options(ENV_PREFIXES[scheme], environ)
    if scheme == "s3":
        _refuse_unwanted_http(options, environ)
    return from_url(url, client_options=cast("ClientConfig", options), retry_config=RETRIES)


def _writable(store: "ObjectStore") -> "ObjectStore":
    if isinstance(store, LocalStore) and not os.access(store.prefix or "/", os.W_OK | os.X_OK):
        raise PermissionError("the directory is not writable")
    return store


def _client_options(prefix: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What is set, over times that are long enough for large files on slow links.

    obstore forgets what the environment says of its HTTP client as soon as it is given any client option.
    """
    options = {"timeout": "1h", "read_timeout": "60s"}
    for name in CLIENT_OPTIONS:
        if value := environ.get(prefix + name.upper()):
            options[name] = value
    return options


def _refuse_unwanted_http(options: Mapping[str, str], environ: Mapping[str, str]) -> None:
    plain = [name for name in ENDPOINTS if environ.get(name, "").startswith("http://")]
    if plain and options.get("allow_http", "").lower() not in {"true", "1"}:
        raise ValueError(f"{plain[0]} is not encrypted; set AWS_ALLOW_HTTP=true where the network itself is trusted")
