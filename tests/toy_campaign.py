"""A stand-in for the simulation: what becomes of a run can be read off its plan. Other processes import it."""

import os
import signal
import time

from edgescale.harness.campaign.result import Job, Offence, Result, ruined, seed_of
from edgescale.harness.mutants import Mutant
from edgescale.harness.plan import Plan

DEADLY, DEAD_HOST, SILENT, BROKEN, UNSURE, FOREVER = 13, 14, 15, 17, 19, 99


def work(job: Job, mutant: str = "") -> Result:
    """Kills its process, its host, ends it without a word; breaks P2, or leaves P6 open: by its seed."""
    seed = seed_of(job)
    if seed == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == DEAD_HOST:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    if seed == SILENT:
        os._exit(0)
    if seed == BROKEN or (mutant == "broken_door" and seed % 5 == 4):
        return bad(job, Offence("P2", "two_results", f"request {seed} was answered twice", story="a sad one"))
    if seed == UNSURE:
        return bad(job, Offence("P6", "unknown: nothing", "unknown: nothing"), outcome="unknown")
    outcomes = {f"P{number}": "valid" for number in range(1, 9)}
    return Result(
        seed,
        outcomes=outcomes,  # type: ignore[arg-type] # literals
        markers={"recovered": 2},
        faults={"cut": 1, "slow": 1},
        pairs=frozenset({("cut", "slow")}),
        requests=10,
        virtual_s=36.0,
        cpu_s=0.5,
        turns=100,
        trace=f"trace of {seed}",
    )


def bad(job: Job, offence: Offence, outcome: str = "invalid") -> Result:
    plan = Plan(job) if isinstance(job, int) else job
    return Result(
        seed_of(job),
        plan,
        outcomes={offence.promise: outcome},  # type: ignore[dict-item] # a literal
        offences=(offence,),
        requests=10,
        cpu_s=0.5,
        trace=f"trace of {seed_of(job)}",
    )


def dreaming(job: Job, _mutant: str = "") -> Result:
    """Depends on what it must not: the hash seed."""
    return Result(seed_of(job), outcomes={"P1": "valid"}, trace=str(hash("dream")))


def fragile(job: Job, _mutant: str = "") -> Result:
    """Cannot be run at all."""
    return ruined(job, "Deadlock", "Deadlock: nothing will ever happen again")


def sleepy(_job: Job, _mutant: str = "") -> Result:
    """Never ends."""
    time.sleep(3_600)
    raise AssertionError


def who(job: Job, _mutant: str = "") -> Result:
    """Tells its process."""
    if job == FOREVER:
        time.sleep(3_600)
    return Result(seed_of(job), outcomes={"P1": "valid"}, trace=str(os.getpid()))


def mutant(name: str, promise: str) -> Mutant:
    return Mutant(name, promise, "breaks something", ())
