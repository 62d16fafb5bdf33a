"""One run of a campaign, from a seed or a plan to its result. Importing this makes a process ready to simulate."""

import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from edgescale.harness.campaign.offences import offences_of
from edgescale.harness.campaign.result import Job, Result, overlaps, ruined
from edgescale.harness.expand import plan_of
from edgescale.harness.mutants import find
from edgescale.harness.simulation.run import Run, simulate


def look(job: Job, mutant: str = "") -> Result:
    """As `work`, and bring the run itself, too."""
    return _work(job, mutant, lambda run: replace(result_of(run), run=run))


def work(job: Job, mutant: str = "") -> Result:
    """Run it, under the mutant of this name; "" for none. A defect of the harness is a failure of the run."""
    return _work(job, mutant, result_of)


def _work(job: Job, mutant: str, told: Callable[[Run], Result]) -> Result:
    try:
        plan = plan_of(job) if isinstance(job, int) else job
        with find(mutant).applied() if mutant else nullcontext():
            run = simulate(plan)
    except Exception as error:  # noqa: BLE001 - whatever the simulation could not handle, the campaign goes on
        name = type(error).__name__
        return ruined(job, name, f"{name}: {error}", story=traceback.format_exc())
    return told(run)


def result_of(run: Run) -> Result:
    """What is counted and told of a run."""
    offences = offences_of(run.history, run.failure, run.verdicts)
    return Result(
        seed=run.plan.seed,
        plan=run.plan if offences else None,
        outcomes={verdict.promise: verdict.outcome for verdict in run.verdicts},
        offences=offences,
        markers={name: count for name, count in run.markers.items() if count},
        faults=Counter(fault.name for fault in run.plan.faults),
        pairs=overlaps(run.plan.faults),
        requests=run.requests,
        virtual_s=run.virtual_s,
        cpu_s=run.cpu_s,
        turns=run.turns,
        trace=run.trace,
    )
