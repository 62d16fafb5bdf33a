"""Mutants of what puts dead letters back."""

from edgescale.harness.mutants.base import Edit, Mutant

LETTER_KEPT = Edit("replay", "redis.call('XDEL', dead, id)\n", "")

LETTER_MUTANTS = (
    # Seen when a task is replayed and succeeds: it is among the dead letters all the same.
    Mutant(
        "replayed_letter_kept",
        "P5",
        "A dead letter that was replayed is still there.",
        (LETTER_KEPT,),
    ),
    # A letter does not outlive its replay by itself, so the bug needs it kept, and its replay not remembered: seen when
    # an operator replays twice, or a reply is lost.
    Mutant(
        "open_task_replayed",
        "P2",
        "A letter is replayed although its task is open, or has succeeded.",
        (
            LETTER_KEPT,
            Edit("replay", "if done then", "if false then"),
            Edit("replay", "if state then", "if false then"),
        ),
    ),
    # Seen whenever a letter is replayed: what its worker brings comes after the end that is stored.
    Mutant(
        "replayed_task_not_opened",
        "P5",
        "A letter goes back into its lane, and the record still says that the task is dead-lettered.",
        (Edit("replay", "'state', 'queued',", "'state', 'dead_lettered',"),),
    ),
    # Seen when letters are replayed into a lane that is full.
    Mutant(
        "replayed_over_the_cap",
        "P3",
        "Letters are put back into a lane that is at its cap.",
        (Edit("replay", "if backlog >= tonumber(cap) then", "if false then"),),
    ),
)
