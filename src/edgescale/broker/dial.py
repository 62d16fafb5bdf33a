"""How connections to Redis are made: redis-py's, without its retries, its timeouts and what else the URL would set."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import DataError
from redis.exceptions import TimeoutError as TooLate

from edgescale.broker.address import EXAMPLES, Address, Node
from edgescale.errors import ConfigError

# Of these one must have answered within the time of a command; those that were silent are asked last the next time.
ASKED_WITHIN_A_COMMAND = 4
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


def dial(url: str, *, timeout_ms: int, example: str = EXAMPLES["single"]) -> ConnectionPool:
    """Makes connections to one server; it is never asked for one of its own.

    Raises:
        ConfigError: the URL is none; the example says what one looks like.
    """
    with _explained(example):
        pool: ConnectionPool = ConnectionPool.from_url(url)
        pool.connection_kwargs |= _options(timeout_ms)
        # What is wrong with the URL's options shows now.
        pool.make_connection()  # type: ignore[no-untyped-call]
    return pool


def dial_node(address: Address, node: Node, *, timeout_ms: int) -> ConnectionPool:
    """Makes connections to one node of a cluster.

    Raises:
        ConfigError: the URL has an option that is none.
    """
    pool = dial(address.url_of(node), timeout_ms=timeout_ms, example=EXAMPLES["cluster"])
    if pool.connection_kwargs["db"] != 0:
        raise ConfigError(f"redis_url: a cluster has database 0 only; an example is {EXAMPLES['cluster']}")
    return pool


def dial_primary(address: Address, *, timeout_ms: int) -> SentinelConnectionPool:
    """Makes connections each of which asks the sentinels first where the primary is.

    Raises:
        ConfigError: the URL has an option that is none.
    """
    with _explained(EXAMPLES["sentinel"]):
        options: dict[str, Any] = dict(parse_url(address.url_of(address.nodes[0])))
        secure = options.pop("connection_class", None) is SSLConnection
        del options["host"], options["port"]
        sentinels = _sentinels(address, options, secure=secure, timeout_ms=timeout_ms)
        options |= _options(timeout_ms)
        pool = SentinelConnectionPool(address.primary, sentinels, ssl=secure, **options)  # type: ignore[no-untyped-call]
        pool.make_connection()  # type: ignore[no-untyped-call]
    return pool


def _sentinels(address: Address, options: dict[str, Any], *, secure: bool, timeout_ms: int) -> Sentinel:
    """Who is asked; takes what is meant for them out of the options."""
    # Who guards the primary has credentials of its own, or none.
    own = {name.removeprefix("sentinel_"): options.pop(name) for name in _SENTINEL_OPTIONS if name in options}
    own |= {name: value for name, value in options.items() if name.startswith("ssl_")}
    own |= _options(timeout_ms) | {"ssl": secure}
    asked = Sentinel(())  # type: ignore[no-untyped-call]
    asked.sentinels = [_Guard(timeout_ms, host=node.host, port=node.port, **own) for node in address.nodes]
    return asked


class _Guard(Redis):
    """A sentinel, whose answer has its share of a command's time; see `_options` on redis-py's own way to keep it."""

    def __init__(self, timeout_ms: int, **options: Any) -> None:
        super().__init__(**options)
        self._asking_s = timeout_ms / 1000 / ASKED_WITHIN_A_COMMAND

    async def sentinel_masters(self) -> Any:
        try:
            async with asyncio.timeout(self._asking_s):
                return await super().sentinel_masters()
        except TimeoutError as error:
            raise TooLate("the sentinel is silent") from error


@contextmanager
def _explained(example: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, DataError) as error:
        raise ConfigError(f"redis_url: {error}; an example is {example}") from error


def _options(timeout_ms: int) -> dict[str, Any]:
    """Set whatever the URL says of them: who can be reached, and with which credentials, is its affair alone."""
    return {
        "protocol": 2,
        "decode_responses": False,
        "retry": Retry(NoBackoff(), 0),
        # Ours is kept by asyncio.timeout(): redis-py keeps its own by asyncio.wait_for(), which before Python
        # 3.12 swallows a cancellation that comes as a write completes. Source: CPython issue 86296.
        "socket_timeout": None,
        "socket_connect_timeout": timeout_ms / 1000,
        "health_check_interval": 0,
        "driver_info": None,
    }
