"""The command line: settings that cannot work, requests from a terminal, and what is said when they fail."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from edgescale import __version__
from edgescale.cli import main
from edgescale.local.child import free_port
from tests.door import ingesting
from tests.ordered import chain
from tests.parts import answer_with_attempt, working
from tests.processes import command, environment
from tests.servers import Server, own_server
from tests.support import Rig, open_rig

ONE_SERVER = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")


Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Runs a command in this process; for those that end by themselves. Exit status, output, standard error."""

    def run(*arguments: str, **settings: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgescale", *arguments])
        monkeypatch.setattr(os, "environ", environment(**settings))
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, told.out, told.err

    yield run
    # Services configure the logs of their process, which is this one.
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def one_sentence(errors: str) -> str:
    """What a person is told: one line, and no traceback."""
    [line] = errors.splitlines()
    assert line.startswith("edgescale: ")
    return line.removeprefix("edgescale: ")


@pytest.mark.parametrize(
    ("arguments", "settings", "sentence"),
    [
        (["worker"], {"leese_ms": 5}, "unknown setting EDGESCALE_LEESE_MS: did you mean EDGESCALE_LEASE_MS?"),
        (["gateway"], {"lease_ms": "soon"}, "EDGESCALE_LEASE_MS: Input should be a valid integer"),
        (["ingestion"], {"lane_cap": 0}, "EDGESCALE_LANE_CAP: Input should be greater than 0"),
        (["worker", "-s", "sweep_ms=9", "-s", "lease_ms=9"], {}, "settings: sweep_ms (9) must be below lease_ms (9)"),
        (["worker", "--set", "lease=9"], {}, "--set lease=9: must be NAME=VALUE with a name of docs/configuration.md"),
        (["ingestion", "--grpc-bind", "0.0.0.0:9"], {}, "settings: grpc_bind 0.0.0.0:9 is not a loopback address"),
        (["gateway", "--http-bind", "localhost"], {}, "settings: http_bind must be host:port"),
        (["worker", "--redis-url", "http://x"], {}, "redis_url: "),
        (["ingestion"], {"blob_url": "ftp://x"}, "blob_url 'ftp://x' cannot be used"),
        (
            ["worker", "--lanes", "txt=8"],
            {},
            "worker_lanes: no handler serves lane 'txt'; those that are served: file, ",
        ),
        (["up", "--workers", "0"], {}, "EDGESCALE_WORKER_PROCESSES: Input should be greater than 0"),
        (["status"], {"redis_urls": "x"}, "unknown setting EDGESCALE_REDIS_URLS: did you mean EDGESCALE_REDIS_URL?"),
    ],
)
def test_settings_that_cannot_work_stop_the_start_with_one_sentence(
    here: Here, arguments: list[str], settings: dict[str, object], sentence: str
) -> None:
    status, output, errors = here(*arguments, **settings)
    assert (status, output) == (2, "")
    assert one_sentence(errors).startswith(sentence)


@ONE_SERVER
async def test_a_port_that_is_taken_stops_the_start_with_a_sentence(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (door, _):
        bind = ["--grpc-bind", door.address]
        status, _, errors = await command("ingestion", *bind, redis_url=server.url, data_dir=tmp_path)
    assert status == 2
    # gRPC's own words on it come first.
    assert errors.splitlines()[-1].startswith(f"edgescale: grpc_bind: cannot listen on {door.address}; ")
    assert "Traceback" not in errors


async def test_a_server_that_may_drop_tasks_is_not_worked_with(tmp_path: Path) -> None:
    evicting = own_server("valkey", tmp_path)
    await evicting.start()
    try:
        async with open_rig(evicting.url) as rig:
            await rig.connection.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        status, _, errors = await command("worker", "--lanes", "heartbeat=1", redis_url=evicting.url, data_dir=tmp_path)
        assert status == 2
        assert "maxmemory-policy is allkeys-lru" in errors.splitlines()[-1]
        assert "Traceback" not in errors
    finally:
        await evicting.stop()


@ONE_SERVER
async def test_a_text_from_the_command_line_is_answered_as_json(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (door, _), working(server.url, answer_with_attempt):
        target = ["--target", door.address]
        for words in (["The ferry was early."], ["-"]):
            status, output, errors = await command(
                "send", "text", *words, "--request-id", "r1", *target, stdin=b"The ferry was early."
            )
            assert (status, errors) == (0, "")
            task = json.loads(output)
            assert (task["request_id"], task["state"]) == ("r1", "TASK_STATE_SUCCEEDED")
            assert task["result"]["json"] == "r1 by attempt 1"


@ONE_SERVER
async def test_an_ordering_key_from_the_command_line_is_the_beginning_of_the_ids(
    server: Server, rig: Rig, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"content")
    async with ingesting(server.url, tmp_path, wait_default_ms=100) as (door, _):
        order = ["--ordering-key", "k", "--target", door.address]
        for words in (["text", "x", "--timeout", "1"], ["file", str(path)]):
            status, _, errors = await command("send", *words, *order)
            assert status == 1
            assert one_sentence(errors).startswith("no result within the time given; task k:")
    for lane in ("text", "file"):
        [request_id] = await rig.request_ids(lane)
        assert request_id.startswith("k:")
        assert await chain(rig, "k", lane) == [request_id]


@ONE_SERVER
async def test_a_heartbeat_and_a_file_from_the_command_line_are_taken(server: Server, rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"content")
    async with ingesting(server.url, tmp_path, wait_default_ms=100) as (door, _):
        target = ["--target", door.address]
        for repeated in (False, True):
            beat = ["pier-1", "--sequence", "7", "--status", "ok", "--request-id", "beat", *target]
            status, output, _ = await command("send", "heartbeat", *beat)
            assert status == 0
            assert json.loads(output) == {"request_id": "beat"} | ({"repeated": True} if repeated else {})
        # Nobody works on files here; the sender hears so, and with which id to ask later.
        status, _, errors = await command("send", "file", str(path), "--request-id", "f1", *target)
        assert status == 1
        assert one_sentence(errors) == "no result within the time given; task f1 goes on and can be asked for later"
    assert await rig.backlog("file") == 1


@ONE_SERVER
async def test_a_task_is_cancelled_from_the_command_line(server: Server, rig: Rig, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (door, caller):
        await caller.client.analyze_text("The ferry was early.", request_id="r1", respond_async=True)
        for _ in range(2):
            status, output, errors = await command("cancel", "r1", "--target", door.address)
            assert (status, errors) == (0, "")
            task = json.loads(output)
            assert (task["request_id"], task["state"]) == ("r1", "TASK_STATE_CANCELLED")
            assert task["error"] == {"reason": "CANCELLED", "message": "a caller asked for it"}
        status, output, errors = await command("cancel", "r2", "--target", door.address)
    assert (status, output) == (1, "")
    assert one_sentence(errors).startswith("no task 'r2': ")
    assert await rig.backlog() == 0


@ONE_SERVER
async def test_status_shows_lanes_and_agents_to_people_and_to_machines(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (door, caller):
        await caller.client.analyze_text("The ferry was early.", respond_async=True)
        status, output, errors = await command("status", "--target", door.address)
        assert (status, errors) == (0, "")
        assert "agents: none seen yet" in output
        assert [line.split()[:2] for line in output.splitlines()[1:4]] == [
            ["file", "0"],
            ["heartbeat", "0"],
            ["text", "1"],
        ]
        status, output, _ = await command("status", "--json", "--target", door.address)
    told = json.loads(output)
    assert status == 0
    assert told["agents"] == []
    assert [(lane["name"], lane["backlog"]) for lane in told["lanes"]] == [
        ("file", "0"),
        ("heartbeat", "0"),
        ("text", "1"),
    ]


@ONE_SERVER
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["heartbeat", ""], "heartbeat.agent_id: must not be empty"),
        (["heartbeat", "pier-1", "--request-id", "a b"], "request_id: must be 1 to 128 of"),
        (["text", "\udcff"], "input: cannot be sent"),
        (["text", " "], "input.text: must not be empty"),
    ],
)
async def test_a_request_that_is_refused_ends_with_one_sentence(
    server: Server, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    async with ingesting(server.url, tmp_path) as (door, _):
        status, output, errors = await command("send", *arguments, "--target", door.address)
    assert (status, output) == (1, "")
    assert one_sentence(errors).startswith(sentence)


@ONE_SERVER
async def test_bytes_that_are_no_text_are_not_sent(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (door, _):
        status, output, errors = await command("send", "text", "-", "--target", door.address, stdin=b"\xff\xfe")
    assert (status, output) == (1, "")
    assert one_sentence(errors) == "input.text: standard input is not UTF-8"


@pytest.mark.parametrize(
    "arguments", [["status"], ["cancel", "r1"], ["send", "heartbeat", "pier-1"], ["send", "text", "x"]]
)
def test_nobody_there_ends_with_one_sentence(here: Here, arguments: list[str]) -> None:
    status, output, errors = here(*arguments, "--target", f"127.0.0.1:{free_port()}")
    assert (status, output) == (1, "")
    one_sentence(errors)


@pytest.mark.parametrize(
    "arguments",
    [["send", "file", "/nowhere"], ["send", "text"], ["send", "heartbeat", "x", "--sequence", "-1"], ["nothing"]],
)
def test_misuse_is_explained(here: Here, arguments: list[str]) -> None:
    status, output, errors = here(*arguments)
    assert (status, output) == (2, "")
    assert "Usage: " in errors


def test_the_version_is_told(here: Here) -> None:
    assert here("--version") == (0, f"edgescale {__version__}\n", "")


async def test_what_is_told_here_is_told_by_a_process_of_its_own() -> None:
    status, output, errors = await command("worker", lane_caps="text=0")
    assert (status, output) == (2, "")
    assert one_sentence(errors).startswith("EDGESCALE_LANE_CAPS.TEXT: ")
