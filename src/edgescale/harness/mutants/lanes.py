"""Mutants of how a worker divides its places among its lanes."""

from edgescale.harness.mutants.base import Edit, Mutant

SHARE = "edgescale.worker.share.Share"

LANE_MUTANTS = (
    # Seen when several lanes have work for some time.
    Mutant(
        "heaviest_lane_first",
        "P11",
        "The heaviest lane that waits always goes first, however long the others have been waiting.",
        (Edit(f"{SHARE}._first", "(self._start(lane), lane)", "(self._stride[lane], lane)"),),
    ),
    # Seen when a lane has much to do after others had.
    Mutant(
        "idle_lanes_save_up",
        "P11",
        "A lane makes up for all that it did not use while it was idle.",
        (Edit(f"{SHARE}._start", "max(self._next[lane], self._now)", "self._next[lane]"),),
    ),
    # Seen when lanes of different weights have work.
    Mutant(
        "weights_upside_down",
        "P11",
        "The more a lane weighs, the less it gets.",
        (Edit(f"{SHARE}.__init__", "scale // weight", "weight"),),
    ),
    # Seen when there is more to do than a worker may do at once.
    Mutant(
        "limit_doubled",
        "P11",
        "A worker runs twice as many tasks as it may.",
        (
            Edit(f"{SHARE}.__init__", "self._free = total", "self._free = 2 * total"),
            Edit(f"{SHARE}.release", "self._free <= self.total", "True"),
        ),
    ),
)
