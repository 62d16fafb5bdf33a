"""The vocabulary of network faults: what is wrong is named, what is right is said."""

import dataclasses
import re
from typing import Any

import pytest

from edgescale.broker.script import Script
from edgescale.errors import ConfigError
from edgescale.harness.chaos import toxics
from edgescale.harness.chaos.effects import ON_BYTES
from edgescale.harness.chaos.effects_on_commands import ON_COMMANDS
from edgescale.harness.chaos.link import Target, same_fault
from edgescale.harness.chaos.resp import Frame, RespSplitter
from edgescale.harness.chaos.toxic import Directed, Toxic, scripts
from edgescale.harness.chaos.toxics import (
    Aimed,
    Bandwidth,
    BlackHole,
    Delay,
    ExecuteThenCut,
    Latency,
    LimitBytes,
    MessageLoss,
    Refused,
    RequestLost,
    ResetInBatch,
    SlowDrip,
)
from tests.redis_wire import encode


def kinds() -> set[type[Toxic]]:
    """All that there are."""
    found = {kind for kind in vars(toxics).values() if isinstance(kind, type) and issubclass(kind, Toxic)}
    return found - {Toxic, Directed, Aimed}


def request(*words: str) -> Frame:
    splitter = RespSplitter(requests=True)
    splitter.feed(encode([word.encode() for word in words]))
    frame = splitter.next()
    assert frame is not None
    return frame


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Latency, {"latency_ms": -1}, "latency_ms: must be a whole number, at least 0, not -1"),
        (Latency, {"latency_ms": "5"}, "latency_ms: must be a whole number, at least 0, not '5'"),
        (Latency, {"latency_ms": True}, "latency_ms: must be a whole number, at least 0, not True"),
        (Latency, {"latency_ms": 5, "jitter_ms": 6}, "jitter_ms: must be at most latency_ms (5), not 6"),
        (
            Latency,
            {"latency_ms": 5, "direction": "up"},
            "direction: must be 'upstream' (to the server) or 'downstream' (from it), not 'up'",
        ),
        (Bandwidth, {"kilobytes_per_s": 0}, "kilobytes_per_s: must be a whole number, at least 1, not 0"),
        (SlowDrip, {"piece_bytes": 0}, "piece_bytes: must be a whole number, at least 1, not 0"),
        (
            SlowDrip,
            {"piece_bytes": 3, "spread_bytes": 3},
            "spread_bytes: must be less than piece_bytes (3), not 3",
        ),
        (LimitBytes, {"bytes_max": 1.5}, "bytes_max: must be a whole number, at least 0, not 1.5"),
        (ExecuteThenCut, {"command": "xadd"}, "command: must be a command of Redis in capitals, 'any', or a script"),
        (ExecuteThenCut, {"command": 5}, "command: must be a command of Redis in capitals, 'any', or a script"),
        (ExecuteThenCut, {"holding": "text"}, "holding: must be bytes, not 'text'"),
        (RequestLost, {"nth": 0}, "nth: must be a whole number, at least 1, not 0"),
        (RequestLost, {"times": 0}, "times: must be a whole number, at least 1, not 0"),
        (Delay, {"delay_ms": 0}, "delay_ms: must be a whole number, at least 1, not 0"),
        (ResetInBatch, {"after_requests": 0}, "after_requests: must be a whole number, at least 1, not 0"),
        (MessageLoss, {"share": 0}, "share: must be a number above 0, and at most 1 for all of them, not 0"),
        (MessageLoss, {"share": "half"}, "share: must be a number above 0, and at most 1 for all of them, not 'half'"),
        (MessageLoss, {"share": 1.01}, "share: must be a number above 0, and at most 1 for all of them, not 1.01"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(
    kind: type[Toxic], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        kind(**fields)


def test_a_misspelt_script_is_shown_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"one of beat, cancel, .*settle, submit, unheard, not 'sumbit'"):
        ExecuteThenCut("sumbit")


def test_every_toxic_is_a_value_and_has_an_effect() -> None:
    assert kinds() == {*ON_BYTES, *ON_COMMANDS, Refused}
    assert Latency(5) == Latency(5, 0, direction="downstream")
    assert len({Latency(5), Latency(5), Latency(6)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Latency(5).latency_ms = 6  # type: ignore[misc] # it is frozen


def test_only_faults_of_bytes_are_those_of_both_proxies() -> None:
    shared = {kind for kind in kinds() if not kind.built_in_only}

    assert shared <= {*ON_BYTES, Refused}
    assert all(issubclass(kind, Directed) for kind in shared - {Refused})


@pytest.mark.parametrize(
    ("toxic", "words", "matches"),
    [
        (ExecuteThenCut(), ["PING"], True),
        (ExecuteThenCut("XADD"), ["xadd", "s", "*", "f", "v"], True),
        (ExecuteThenCut("XADD"), ["GET", "XADD"], False),
        (ExecuteThenCut("submit"), ["EVALSHA", Script.load("submit").sha, "0"], True),
        (ExecuteThenCut("submit"), ["EVALSHA", Script.load("settle").sha, "0"], False),
        (ExecuteThenCut("EVALSHA", holding=b"r7"), ["EVALSHA", "0" * 40, "0", "r7"], True),
        (ExecuteThenCut("EVALSHA", holding=b"r7"), ["EVALSHA", "0" * 40, "0", "r8"], False),
        (RequestLost(holding=b"$2\r\nr1\r\n"), ["SET", "k", "r1"], True),
        (RequestLost(holding=b"$2\r\nr1\r\n"), ["SET", "k", "r10"], False),
    ],
)
def test_a_toxic_is_aimed_by_command_script_and_content(toxic: Aimed, words: list[str], *, matches: bool) -> None:
    assert toxic.matches(request(*words)) is matches


def test_scripts_are_those_that_are_run() -> None:
    assert {"submit", "settle", "renew"} <= set(scripts())
    assert "_prelude" not in scripts()


@pytest.mark.parametrize(
    ("url", "address", "detour"),
    [
        ("redis://127.0.0.1:6379/0", "127.0.0.1:6379", "redis://10.0.0.9:7/0"),
        (
            "redis://user:p%40ss@host:6379/3?health_check_interval=1",
            "host:6379",
            "redis://user:p%40ss@10.0.0.9:7/3?health_check_interval=1",
        ),
        ("127.0.0.1:50051", "127.0.0.1:50051", "10.0.0.9:7"),
        ("localhost:50051", "localhost:50051", "10.0.0.9:7"),
        ("http://[::1]:8080/v1", "[::1]:8080", "http://10.0.0.9:7/v1"),
    ],
)
def test_a_target_keeps_all_but_its_address(url: str, address: str, detour: str) -> None:
    target = Target.parse(url)

    assert target.address == address
    assert target.by_way_of("10.0.0.9", 7) == detour


def test_an_address_of_ipv6_is_bracketed() -> None:
    assert Target.parse("localhost:50051").by_way_of("::1", 7) == "[::1]:7"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "redis://localhost/0",
        "redis://localhost:x/0",
        "redis+cluster://a:1,b:2",
        ":6379",
        "redis://[::1",
    ],
)
def test_a_target_that_names_no_single_port_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"target: must name one host and its port, such as redis://127.0.0.1:6379/0"):
        Target.parse(url)


def test_only_redis_in_the_clear_is_read() -> None:
    assert Target.parse("redis://h:1").speaks_resp
    assert not Target.parse("rediss://h:1").speaks_resp
    assert not Target.parse("h:1").speaks_resp


def test_only_the_numbers_of_a_fault_can_be_changed() -> None:
    assert same_fault(Latency(5), Latency(50, 10)) == Latency(50, 10)
    for other in (Latency(5, direction="upstream"), Bandwidth(5), BlackHole()):
        with pytest.raises(ConfigError, match=r"toxic: only the numbers of Latency"):
            same_fault(Latency(5), other)
