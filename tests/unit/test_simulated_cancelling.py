"""Cancelling through both doors of a calm simulation: each stage of a task, told as it is, and mutants that show."""

from dataclasses import replace

import pytest

from edgescale.harness.mutants import find
from edgescale.harness.plan import Plan, Request
from edgescale.harness.simulation.run import Run, simulate

# One slot more than the blocked read keeps, so that what comes second waits.
SETTINGS = {"worker_lanes": "text=1,heartbeat=1,file=1"}
LONG = Request(100, "client-1", "text", "long", "ingestion-1", "work 3900")


def plan(door: str, *requests: Request) -> Plan:
    services = {"ingestion": 1, "gateway": 1, "worker": 1}
    sent = tuple(replace(request, door=door) for request in requests)
    return Plan(1, services=services, settings=SETTINGS, requests=sent)


def cancel(request_id: str, at_ms: int) -> Request:
    return Request(at_ms, f"client-{at_ms}", "cancel", request_id, "")


def text(request_id: str, at_ms: int, script: str = "work 50") -> Request:
    return Request(at_ms, f"client-{request_id}", "text", request_id, "", script)


def told(run: Run, operation: str) -> list[tuple[str, str]]:
    """Of each call in the order of their ends: its phase, and the state or else the reason that it brought."""
    ends = [event for event in run.history.named(operation) if event.phase != "invoke"]
    return [(event.phase, event.text("state") or event.text("reason")) for event in ends]


def started(run: Run) -> list[str]:
    return [event.request_id for event in run.history.named("handle") if event.phase == "invoke"]


@pytest.mark.parametrize("door", ["ingestion-1", "gateway-1"])
def test_a_task_is_cancelled_queued_running_and_never_once_it_has_ended(door: str) -> None:
    texts = (text("done", 10), LONG, text("queued", 200), text("next", 1_000))
    first, second = (cancel("queued", 400), cancel("long", 600)), (cancel("long", 800), cancel("done", 900))
    run = simulate(plan(door, *texts, *first, *second, cancel("nobody", 950)))

    assert run.good
    assert told(run, "cancel") == [
        ("ok", "cancelled"),
        ("ok", "cancelled"),
        ("ok", "cancelled"),
        ("ok", "succeeded"),
        ("fail", "TASK_NOT_FOUND"),
    ]
    assert told(run, "submit") == [
        ("ok", "succeeded"),
        ("fail", "cancelled"),
        ("fail", "cancelled"),
        ("ok", "succeeded"),
    ]
    assert started(run) == ["done", "long", "next"]
    markers = ("cancelled_queued", "cancelled_running", "cancelled_too_late")
    assert [run.markers[name] for name in markers] == [1, 1, 1]


def test_a_cancelled_task_that_is_sent_again_stays_cancelled() -> None:
    again = text("r1", 600, LONG.script)
    run = simulate(plan("ingestion-1", text("r1", 100, LONG.script), cancel("r1", 300), again))

    assert run.good
    assert told(run, "submit") == [("fail", "cancelled")] * 2
    assert started(run) == ["r1"]


def test_the_file_of_a_cancelled_upload_stays_and_belongs_to_its_task() -> None:
    upload = Request(100, "client-1", "file", "f1", "", size_bytes=100_000)
    nobody_works = {"ingestion": 1, "gateway": 0, "worker": 0}
    run = simulate(replace(plan("ingestion-1", upload, cancel("f1", 500)), services=nobody_works))
    [blob] = [event for event in run.history.named("final") if event.text("sha256")]

    assert run.good
    assert told(run, "upload") == [("fail", "cancelled")]
    assert blob.flag("referenced")


@pytest.mark.parametrize(
    ("mutant", "rule"),
    [
        ("cancelled_entry_kept", "cancelled_but_queued"),
        ("cancelled_task_starts", "cancelled_but_started"),
        ("cancelled_handler_goes_on", "cancelled_but_running"),
        ("cancel_overwrites", "two_results"),
        ("cancel_tells_nobody", "late"),
    ],
)
def test_what_would_be_wrong_is_found(mutant: str, rule: str) -> None:
    requests = (text("done", 10), LONG, text("queued", 150), cancel("queued", 200), cancel("done", 300))
    # The last one keeps the run going for as long as a handler has to be told.
    running = (text("r1", 4_500, "work 3900"), cancel("r1", 4_700), text("last", 7_500))
    with find(mutant).applied():
        run = simulate(plan("ingestion-1", *requests, *running))

    assert rule in {finding.rule for verdict in run.verdicts for finding in verdict.findings}
