"""One plan, one history: whatever the process, its hashing of strings, its heap, and what it ran before."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Objects of many sizes, half of them freed again, so that no later one lies where it lies in another process.
ELSEWHERE = """
import os, sys
from random import Random

rng = Random(sys.argv[1])
heap = [bytearray(rng.randrange(1, 2_000)) for _ in range(rng.randrange(40_000))]
del heap[::2]

from edgescale.harness.expand import plan_of
from edgescale.harness.simulation.run import simulate

seeds = sys.argv[2:]
runs = {seed: simulate(plan_of(int(seed))) for seed in seeds}
for seed in sorted(runs):
    print(seed, runs[seed].turns, runs[seed].virtual_s)
    for event in runs[seed].history.events:
        print(event.line())
sys.stdout.flush()
os._exit(0)  # nothing of what is left in the midst of its work is to run
"""


def histories(hash_seed: str, *seeds: int) -> list[str]:
    """What a process of its own saw, line by line, in the order of the seeds whatever order they were run in."""
    done = subprocess.run(  # noqa: S603 - the program is above
        [sys.executable, "-c", ELSEWHERE, hash_seed, *map(str, seeds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.splitlines()


def test_a_history_is_the_same_to_the_byte_in_every_process() -> None:
    first = histories("1", 21, 36, 41)

    assert len(first) > 500
    assert histories("2", 41, 21, 36) == first
    assert histories("3", 36, 41, 21) == first
