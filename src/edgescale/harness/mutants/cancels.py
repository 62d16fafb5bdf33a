"""Mutants of cancelling: bugs in ending tasks that nobody wants any more."""

from edgescale.harness.mutants.base import Edit, Mutant
from edgescale.harness.mutants.scripts import NO_SLOW_TIMER

ACKNOWLEDGED = "    redis.call('XACK', stream, group, entry)\n"
REMOVED = "    redis.call('XDEL', stream, entry)\n"

CANCEL_MUTANTS = (
    # Seen when a task is cancelled behind so many that nobody gets to it for a while.
    Mutant(
        "cancelled_task_starts",
        "P6",
        "A cancelled task keeps its place in the stream, and is given to a worker when its turn comes.",
        (Edit("cancel", ACKNOWLEDGED, ""), Edit("cancel", REMOVED, "")),
    ),
    # Seen at once: what is acknowledged and still there looks like what a deleted consumer held, and is taken up again.
    Mutant(
        "cancelled_entry_kept",
        "P1",
        "The entry of a cancelled task is acknowledged, and stays in the stream.",
        (Edit("cancel", REMOVED, ""),),
    ),
    # Seen when a task is cancelled that has ended.
    Mutant(
        "cancel_overwrites",
        "P2",
        "A cancellation takes the place of a result that was stored before it.",
        (
            Edit("cancel", "local open = known[1] and not TERMINAL[known[1]]", "local open = known[1]"),
            Edit("cancel", "whereabouts(known[4], known[5],", "whereabouts(known[4] or '0-0', known[5],"),
            # Nor does anybody look beforehand.
            Edit("edgescale.broker.cancel.Canceller._flush", "if not record.terminal", "if True"),
        ),
    ),
    # Seen when somebody waits for a task that is cancelled.
    Mutant(
        "cancel_tells_nobody",
        "P2",
        "Whoever waits for a cancelled task is not woken, and does not look for himself.",
        (Edit("cancel", "    notify(task, channel_prefix, request_id)\n", ""), NO_SLOW_TIMER),
    ),
    # Seen when a running task is cancelled whose handler takes long.
    Mutant(
        "cancelled_handler_goes_on",
        "P6",
        "A worker that has lost an entry goes on with its handler, for nothing.",
        (Edit("edgescale.worker.renewer.Renewer._renew", "if not kept:", "if False:"),),
    ),
    # Seen whenever somebody stops waiting before the result is there.
    Mutant(
        "cancelled_with_the_wait",
        "P1",
        "A task is cancelled when the wait of its caller is over.",
        (
            Edit(
                "edgescale.ingestion.intake.Intake._answer",
                "        if record is None:\n",
                "        if record is None:\n"
                "            from edgescale.broker.cancel import Canceller\n"
                "            broker = self._broker\n"
                "            parts = (broker._connection, broker._keys, self._settings, self._chance)\n"
                "            await Canceller(*parts).cancel(submission.envelope.request_id)\n",
            ),
        ),
    ),
)
