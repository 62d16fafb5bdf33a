"""Mutants of what is told under strict: bugs in waiting for replicas.

All are seen when a replica that was behind takes over; strict runs have such a failover more often than not.
"""

from edgescale.harness.mutants.base import Edit, Mutant

BEHIND = "edgescale.broker.fence.Fence.behind"
TELLS_NOTHING = "if script.name not in TELLING:"

DURABILITY_MUTANTS = (
    Mutant(
        "no_wait",
        "P1",
        "Under strict, nobody waits for replicas.",
        (Edit(BEHIND, TELLS_NOTHING, "if True:"),),
    ),
    # Seen when a call is repeated whose acknowledgement was missing, or when somebody reads what another has written:
    # neither has anything to write.
    Mutant(
        "no_fence_write",
        "P2",
        "Replicas are waited for without a write of one's own, so that they seem to have what others wrote.",
        (Edit(BEHIND, '("EVAL", BODY, 1, fence_of(key), LIVES_MS), ', ""),),
    ),
    # Seen when a caller reads a result in the moment between its writing and its acknowledgement.
    Mutant(
        "told_before_acknowledged",
        "P2",
        "A result is read and told while its worker still waits for replicas to have it.",
        (Edit(BEHIND, TELLS_NOTHING, 'if script.name not in TELLING or script.name == "lookup":'),),
    ),
    Mutant(
        "short_count_taken",
        "P1",
        "Replicas are waited for, and how many had acknowledged when the time was up is not looked at.",
        (
            Edit(
                "edgescale.broker.fence.Fence.passed",
                "= acknowledged < self.replicas,",
                "= False,",
            ),
        ),
    ),
)
