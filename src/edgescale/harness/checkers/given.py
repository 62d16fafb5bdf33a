"""When Redis gave an entry: earlier than its worker heard of it, and nobody saw by how much."""

from edgescale.harness.checkers.entries import Delivery
from edgescale.harness.checkers.faults import REDIS, Lives, Unrests
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import NS_PER_MS, History


def given_ns(history: History, held: Delivery) -> int:
    """The earliest moment at which Redis can have given the entry.

    A delivery may have been on its way for a while; for longer than a reply is waited for only where something was
    disturbed, and then nothing is known.
    """
    heard_ns = held.event.time_ns
    # The incarnation held nothing before it was ready, and whatever befell its name until then is no concern of it.
    born_ns = history.view(Lives).ready_ns(held.actor) + 1
    disturbed = history.view(Unrests).of(held.event.name, REDIS)
    if disturbed.meets(Span(max(heard_ns - history.header.terms.lease_ms * NS_PER_MS, born_ns), heard_ns)):
        return born_ns
    return max(heard_ns - history.header.bounds.reply_ms * NS_PER_MS, born_ns)
