"""Addresses of services on one machine."""

import pytest

from edgescale.local.addresses import nth, reachable, settled


@pytest.mark.parametrize(
    ("bind", "target"),
    [
        ("127.0.0.1:9", "127.0.0.1:9"),
        ("0.0.0.0:9", "127.0.0.1:9"),
        ("[::]:9", "[::1]:9"),
        ("[::1]:9", "[::1]:9"),
        ("localhost:9", "localhost:9"),
    ],
)
def test_who_listens_everywhere_is_reached_over_loopback(bind: str, target: str) -> None:
    assert reachable(bind) == target


def test_a_port_that_was_given_is_kept_and_a_free_one_is_found_once() -> None:
    assert settled("127.0.0.1:9") == "127.0.0.1:9"
    host, _, port = settled("127.0.0.1:0").rpartition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)


def test_processes_that_listen_at_one_address_are_told_apart_by_their_ports() -> None:
    assert [nth("127.0.0.1:9000", number) for number in (1, 2)] == ["127.0.0.1:9000", "127.0.0.1:9001"]
    assert [nth(bind, 2) for bind in ("127.0.0.1:0", "")] == ["127.0.0.1:0", ""]
