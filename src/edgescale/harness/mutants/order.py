"""Mutants of the order: bugs in letting the tasks of one ordering key go one after the other."""

from edgescale.harness.mutants.base import PRELUDE, Edit, Mutant

ORDER_MUTANTS = (
    # Seen when anybody waits for his turn, although whoever looks at the chain next mends it.
    Mutant(
        "next_one_not_let_go",
        "P10",
        "When a task has ended, the next one of its key stays where it waits.",
        (
            Edit(
                "settle",
                "      leave(stream, waiting, chain, id == entry and first or request_id .. ' ' .. entry)\n",
                "",
            ),
        ),
    ),
    # Seen as above, with three tasks of one key.
    Mutant(
        "all_let_go",
        "P10",
        "When a task has ended, all that wait behind it are let go.",
        (Edit(PRELUDE, "      redis.call('ZADD', chain, score, request_id .. ' ' .. id)\n      return\n", ""),),
    ),
    # Seen as above.
    Mutant(
        "last_comes_first",
        "P10",
        "Who comes later stands before all who wait.",
        (Edit(PRELUDE, "(last[2] or 0) + 1", "last[1] and 1000000 - redis.call('ZCARD', chain) or 0"),),
    ),
    # Seen when somebody comes while one of his key is queued or running.
    Mutant(
        "nobody_waits",
        "P10",
        "An ordering key is taken down, and every task goes straight into the stream.",
        (Edit(PRELUDE, "local place = last[1] and waiting or stream", "local place = stream"),),
    ),
    # Seen when a task is cancelled that others wait for; whoever looks at the chain next mends it.
    Mutant(
        "held_up_by_the_cancelled",
        "P10",
        "A cancelled task keeps its place in the chain, and holds up who is behind it.",
        (Edit("cancel", "leave(stream, waiting, chain, member or request_id .. ' ' .. (entry or ''))", ""),),
    ),
    # Seen when the nemesis takes the first one away.
    Mutant(
        "held_up_by_the_lost",
        "P1",
        "A task whose entry was taken away by hand keeps its place in the chain for ever.",
        (Edit(PRELUDE, "if member and removed(stream, group, id) then", "if false then"),),
    ),
    # Seen with more tasks of one key than the lane can hold.
    Mutant(
        "waiting_ones_not_counted",
        "P3",
        "Tasks that wait for their turn do not count against the cap.",
        (Edit("submit", "redis.call('XLEN', stream) + redis.call('XLEN', waiting)", "redis.call('XLEN', stream)"),),
    ),
)
