"""`edgescale dead`: letters from a terminal."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgescale.broker.model import Submission
from edgescale.envelope import Envelope
from tests.door import Door, ingesting
from tests.processes import command
from tests.servers import Server
from tests.support import settlement

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")


@pytest.fixture
async def door(server: Server, tmp_path: Path) -> AsyncIterator[Door]:
    async with ingesting(server.url, tmp_path, lane_caps="text=3") as (opened, _):
        yield opened


async def dead(door: Door, *arguments: str) -> tuple[int, str, str]:
    return await command("dead", *arguments, "--target", door.address)


async def test_letters_are_listed_shown_replayed_and_purged(door: Door) -> None:
    await door.rig.bury("r1", "r2", reason="ONE")
    await door.rig.bury("r3", reason="TWO")

    status, output, errors = await dead(door, "list", "--reason", "ONE", "--json")
    assert (status, errors) == (0, "")
    listed = json.loads(output)["dead_letters"]
    assert [letter["request_id"] for letter in listed] == ["r2", "r1"]
    assert "fields" not in listed[0]

    status, output, _ = await dead(door, "show", listed[0]["id"], "--json")
    shown = json.loads(output)
    assert (status, shown["request_id"], shown["history"][0]["worker"]) == (0, "r2", "worker-1")
    assert shown["fields"]["request_id"] == "cjI="

    status, output, _ = await dead(door, "replay", "--reason", "ONE", "--json")
    answer = json.loads(output)
    assert (status, answer["replayed"]) == (0, 2)
    assert [letter["outcome"] for letter in answer["letters"]] == ["REPLAY_OUTCOME_REPLAYED"] * 2
    assert sorted(await door.rig.request_ids()) == ["r1", "r2"]

    status, output, _ = await dead(door, "purge", "--all", "--json")
    assert (status, json.loads(output)) == (0, {"purged": 1})
    assert await dead(door, "list") == (0, "no dead letters", "")


async def test_what_is_printed_for_people_has_what_they_look_for_and_obeys_nobody(door: Door) -> None:
    given = Submission(Envelope("r1", "text", b"\x1b[31m[bold]payload"), "text", "d")
    await door.rig.broker.submit(given)
    [entry] = await door.rig.take()
    evil = settlement(entry, state="dead_lettered", reason="R", message="\x1b]0;title\x07[red]it broke")
    await door.rig.broker.settle("worker-1", evil)

    status, table, _ = await dead(door, "list")
    _, shown, _ = await dead(door, "show", "r1")

    assert status == 0
    assert "r1" in table
    for output in (table, shown):
        assert "\x1b" not in output
        assert "\x07" not in output
    assert "[red]it broke" in shown
    assert "payload" in shown
    assert "worker-1" in shown


@pytest.mark.one_partition
async def test_letters_that_stay_where_they_are_make_the_command_fail(door: Door) -> None:
    await door.rig.bury("r1", "r2")
    await door.rig.submit("x1", "x2")

    status, output, _ = await dead(door, "replay", "--all", "--per-second", "40")

    assert status == 1
    assert "1 replayed" in output
    assert "1 left, full: lane 'text' is full" in output
    status, output, _ = await dead(door, "replay", "nobody")
    assert (status, "1 left, missing: there is no dead letter 'nobody'" in output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "nobody"], "no dead letter 'nobody': it was replayed or purged, or never was"),
        (["purge", "nobody"], "no dead letter nobody: it was replayed or purged, or never was"),
        (["purge"], "ID: say which letters are meant: ids, or --lane, --kind and --reason, or --all"),
        (["replay"], "ID: say which letters are meant: ids, or --lane, --kind and --reason, or --all"),
        (["purge", "r1", "--all"], "--all: must not be given beside ids"),
        (["purge", "r1", "--lane", "text"], "--lane: must not be given beside ids"),
        (["replay", "--all", "--kind", "text"], "--all: must not be given beside --kind"),
        (["show", "x" * 513], "id: must be the id of a dead letter or of its task, of 1 to 512 characters"),
    ],
)
async def test_what_cannot_be_meant_is_told_in_one_sentence(door: Door, arguments: list[str], sentence: str) -> None:
    await door.rig.bury("r1")

    status, output, errors = await dead(door, *arguments)

    assert (status, output) == (1, "")
    assert errors == f"edgescale: {sentence}\n"
    assert len(await door.rig.dead_letters()) == 1
