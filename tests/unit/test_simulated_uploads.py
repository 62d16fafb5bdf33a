"""A file whose submission nobody heard the reply to: it stays, for its task may have been queued."""

from contextlib import nullcontext

import pytest

from edgescale.harness.mutants import find
from edgescale.harness.plan import Fault, Plan, Request
from edgescale.harness.simulation.run import Run, simulate

# The last chunk comes at 1.6 s. What ingestion sends from just before that on still arrives, and no reply does.
UPLOAD = Request(100, "client-1", "file", "f1", "ingestion-1", size_bytes=100_000, pause_ms=750)
PLAN = Plan(
    1,
    services={"ingestion": 1, "worker": 1},
    requests=(UPLOAD, Request(100, "client-2", "text", "r1", "ingestion-1", "work 1")),
    faults=(Fault(1_450, 4_000, "one_way", "ingestion-1", {"way": "back"}),),
)


def outcome(run: Run) -> tuple[str, set[str]]:
    """What the sender heard, and the rules of P7 that were broken."""
    [end] = [event for event in run.history.named("upload") if event.phase != "invoke"]
    findings = next(verdict.findings for verdict in run.verdicts if verdict.promise == "P7")
    return end.text("reason"), {finding.rule for finding in findings}


@pytest.mark.parametrize(("mutant", "rules"), [("", set()), ("unclear_file_discarded", {"missing"})])
def test_a_file_whose_task_may_have_been_queued_stays(mutant: str, rules: set[str]) -> None:
    with find(mutant).applied() if mutant else nullcontext():
        run = simulate(PLAN)

    assert outcome(run) == ("BROKER_UNAVAILABLE", rules)
    assert run.good is not bool(mutant)
