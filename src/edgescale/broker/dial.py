"""How connections to Redis are made: redis-py's, without its retries, its timeouts and what else the URL would set."""

from typing import Any

from redis.asyncio.connection import ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from edgescale.broker.address import EXAMPLES, Address, Node
from edgescale.errors import ConfigError

# Of these one must have answered within the time of a command; those that were silent are asked last the next time.
ASKED_WITHIN_A_COMMAND = 4
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


def dial(url: str, *, timeout_ms: int) -> ConnectionPool:
    """Makes connections to one server; it is never asked for one of its own.

    Raises:
        ConfigError: the URL is none.
    """
    try:
        pool: ConnectionPool = ConnectionPool.from_url(url)
    except ValueError as error:
        raise ConfigError(f"redis_url: {error}; an example is {EXAMPLES['single']}") from error
    pool.connection_kwargs |= _options(timeout_ms)
    return pool


def dial_node(address: Address, node: Node, *, timeout_ms: int) -> ConnectionPool:
    """Makes connections to one node of a cluster."""
    return dial(address.url_of(node), timeout_ms=timeout_ms)


def dial_primary(address: Address, *, timeout_ms: int) -> SentinelConnectionPool:
    """Makes connections each of which asks the sentinels first where the primary is.

    Raises:
        ConfigError: the URL has an option that is none.
    """
    try:
        options: dict[str, Any] = dict(parse_url(address.url_of(address.nodes[0])))
    except ValueError as error:
        raise ConfigError(f"redis_url: {error}; an example is {EXAMPLES['sentinel']}") from error
    secure = options.pop("connection_class", None) is SSLConnection
    # Who guards the primary has credentials of its own, or none.
    own = {name.removeprefix("sentinel_"): options.pop(name) for name in _SENTINEL_OPTIONS if name in options}
    own |= {name: value for name, value in options.items() if name.startswith("ssl_")}
    del options["host"], options["port"]
    asking_s = timeout_ms / 1000 / ASKED_WITHIN_A_COMMAND
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        address.nodes,
        sentinel_kwargs=own
        | _options(timeout_ms)
        | {"ssl": secure, "socket_timeout": asking_s, "socket_connect_timeout": asking_s},
    )
    options |= _options(timeout_ms)
    return SentinelConnectionPool(address.primary, sentinels, ssl=secure, **options)  # type: ignore[no-untyped-call]


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
