"""Where Redis is, read from a URL."""

import pytest

from edgescale.broker.address import Address, Node
from edgescale.broker.connection import Connection
from edgescale.errors import ConfigError


def test_a_plain_url_is_one_server_and_is_left_as_it_is() -> None:
    assert Address.parse("redis://127.0.0.1:6379/3") == Address("single", "redis://127.0.0.1:6379/3")


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    address = Address.parse("redis+cluster://ann:s%40fe@one:7000,two,[::1]:7002?ssl_cert_reqs=none")
    assert (address.mode, address.nodes) == ("cluster", (Node("one", 7000), Node("two", 6379), Node("::1", 7002)))
    assert address.url_of(Node("other", 7)) == "redis://ann:s%40fe@other:7/0?ssl_cert_reqs=none"
    assert address.url_of(Node("fe80::1", 7)) == "redis://ann:s%40fe@[fe80::1]:7/0?ssl_cert_reqs=none"


def test_sentinels_are_followed_by_the_name_of_the_primary_and_perhaps_a_database() -> None:
    address = Address.parse("rediss+sentinel://:pass@one,two:26380/orders/2")
    assert (address.mode, address.primary) == ("sentinel", "orders")
    assert address.nodes == (Node("one", 26379), Node("two", 26380))
    assert address.url_of(address.nodes[0]) == "rediss://:pass@one:26379/2"


@pytest.mark.parametrize(
    ("url", "problem", "example"),
    [
        ("redis+cluster://", "'' is not host:port", "redis+cluster://"),
        ("redis+cluster://one:7000,", "'' is not host:port", "redis+cluster://"),
        ("redis+cluster://one:70000", "'one:70000' is not host:port", "redis+cluster://"),
        ("redis+cluster://one:port", "'one:port' is not host:port", "redis+cluster://"),
        ("redis+cluster://::1", "'::1' is not host:port", "redis+cluster://"),
        ("redis+cluster://one/1", "database 0 only", "redis+cluster://"),
        ("redis+cluster://one?db=one", "'db'", "redis+cluster://"),
        ("redis+sentinel://one:26379", "name of the primary", "redis+sentinel://"),
        ("redis+sentinel://one:26379/", "name of the primary", "redis+sentinel://"),
        ("redis+sentinel://one:26379/orders/x", "must be a number, not 'x'", "redis+sentinel://"),
        ("redis+sentinel:///orders", "'' is not host:port", "redis+sentinel://"),
        ("redis+sentinel://one/orders?socket_timeout=soon", "socket_timeout", "redis+sentinel://"),
        ("redis+cluster://one?db=1", "database 0 only", "redis+cluster://"),
        ("redis+cluster://one?colour=red", "'colour'", "redis+cluster://"),
        ("redis+sentinel://one/orders?colour=red", "'colour'", "redis+sentinel://"),
        ("redis://one?colour=red", "'colour'", "redis://"),
        ("redis+elsewhere://one", "schemes", "redis://"),
    ],
)
def test_what_is_wrong_in_a_url_is_said_with_an_example(url: str, problem: str, example: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Connection(url, timeout_ms=1_000)
    assert str(refused.value).startswith("redis_url: ")
    assert problem in str(refused.value)
    assert f"an example is {example}" in str(refused.value)
