"""Sometimes-markers: what a campaign must have seen happen before its silence means anything.

Each names evidence, not injection: not that a worker was killed, but that its work was taken over. A marker is hit by
what the history shows, or by a `marker` event of an actor that alone can see it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgescale.harness import evidence
from edgescale.harness import evidence_of_cancels as cancels
from edgescale.harness import evidence_of_durability as durability
from edgescale.harness import evidence_of_leases as leases
from edgescale.harness import evidence_of_recovery as recovery
from edgescale.harness.evidence import Evidence, events, told
from edgescale.harness.history import History


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that must happen now and then.

    Attributes:
        name: for programs, and in `marker` events.
        sentence: what happened.
        evidence: counts how often a history shows it.
    """

    name: str
    sentence: str
    evidence: Evidence


MARKERS = (
    # At the door.
    Marker("cap_refused", "a full lane refused a request", evidence.refused("LANE_FULL")),
    Marker("crowd_refused", "a process with its hands full refused", evidence.refused("TOO_MANY_REQUESTS")),
    Marker("memory_refused", "Redis out of memory led to a refusal", evidence.refused("OVERLOADED")),
    Marker("conflict_refused", "an id taken by other content was refused", evidence.refused("REQUEST_ID_CONFLICT")),
    Marker("lane_at_cap", "a sample found a lane exactly at its cap", evidence.at_cap),
    Marker("attached", "a submission met its task again", events("accept", new=False)),
    Marker("two_doors", "one task came in through two ingestion processes", evidence.two_doors),
    Marker(
        "repeated_after_lost_reply",
        "a submission was repeated after its reply was lost",
        evidence.repeated_after_lost_reply,
    ),
    Marker("recovered", "a task was done whose caller had heard nothing", evidence.unclear()),
    Marker("caller_left", "a task was done although its caller had cancelled", evidence.unclear("CANCELLED")),
    Marker("door_died", "a task was done although its ingestion process had died", evidence.doors_died),
    # Cancelling.
    Marker("cancelled_queued", "a task was cancelled before any worker had it", cancels.queued),
    Marker("cancelled_running", "a handler was told to stop because its task was cancelled", cancels.running),
    Marker("cancelled_between_tries", "a task was cancelled while it waited for a try", cancels.between_tries),
    Marker("cancelled_too_late", "a task was to be cancelled that had ended otherwise", cancels.too_late),
    # In order.
    Marker("waited_its_turn", "a task waited until those before it had ended", events("turn")),
    Marker(
        "passed_the_lost",
        "a turn came after entries were taken away",
        evidence.followed("lost", "turn", what="entries"),
    ),
    # On the way back.
    Marker("fetched_after_wait", "a result was fetched after the wait for it had expired", evidence.fetched_after_wait),
    Marker("shared_result", "one result answered two waiting callers", evidence.shared_results),
    Marker("answered_by_reread", "a waiter was answered by the re-read, not by the message", told),
    Marker("message_lost", "a notification was published and nobody heard it", told),
    Marker("resubscribed", "the result channel was subscribed again while somebody waited", told),
    Marker("waited_out_outage", "a caller waited through an outage of Redis", evidence.answered_across("serving")),
    Marker("waited_out_loss", "a caller was answered although Redis had lost data", evidence.answered_across("lost")),
    Marker("resubmitted", "a task was submitted again after Redis had lost it", events("resubmit")),
    # Lanes.
    Marker("lane_waited", "a lane waited for a place of its worker, and got one", events("line")),
    # Leases.
    Marker("reclaimed_from_dead", "reclaim took an entry from a dead owner", leases.reclaimed_from_dead),
    Marker("reclaimed_from_sleeper", "reclaim took a sleeper's entry", leases.reclaimed_from_living("paused")),
    Marker("reclaimed_from_cut_off", "reclaim took a disturbed owner's entry", leases.reclaimed_from_living("fault")),
    Marker("reclaimed_unheard", "reclaim took an entry from an owner that never heard of it", leases.reclaimed_unheard),
    Marker(
        "heard_after_all",
        "a worker was given again what a read had brought whose reply was lost",
        events("deliver", how="unheard"),
    ),
    Marker("zombie_fenced", "a zombie's settle was fenced", events("settle", status="lost")),
    Marker("race_lost", "a result came after another one and was dropped", events("settle", status="superseded")),
    Marker("renewal_refused", "a renewal was refused: somebody else had the entry", leases.renewals_refused),
    Marker("lease_outlived", "a task took longer than a lease and was settled by its owner", leases.leases_outlived),
    Marker("died_after_storing", "a worker died between storing and knowing it", leases.died_after_storing),
    Marker("settle_unclear", "an entry came again whose settle had never ended", leases.reclaimed_after_unclear_settle),
    Marker("settle_repeated", "a settle was repeated after its reply was lost", told),
    Marker("effect_repeated", "an effect was committed twice, under one result", leases.effects_repeated),
    # Poison.
    Marker("tried_again", "a task succeeded after a failed attempt", leases.tried_again),
    Marker("rejected", "a handler rejected a task for good", events("store", state="failed")),
    Marker("exhausted", "a task was buried after its last try", leases.exhausted),
    Marker("undecodable", "an entry that does not decode was buried", events("settle", reason="UNDECODABLE")),
    Marker("killer", "a task took two workers with it", leases.killers),
    Marker("replayed", "a dead letter was put back into its lane", events("replay")),
    Marker("replayed_well", "a task succeeded after it was put back", leases.replayed_well),
    # Drain.
    Marker("finished_in_grace", "a stopping worker finished a task", leases.finished_in_grace),
    Marker("handed_over", "a draining worker's entry was taken by another", leases.handed_over),
    Marker("rolled", "a service stopped and came back", evidence.followed("stopped", "ready", same_service=True)),
    # Uploads.
    Marker("upload_refused", "a full lane refused an upload", evidence.refused("LANE_FULL", operations=["upload"])),
    Marker("upload_kept", "an upload was accepted", evidence.uploads(accepted=True)),
    Marker("upload_cut", "an upload was broken off by its sender", evidence.uploads(accepted=False, cut=True)),
    Marker("upload_failed", "an upload that was sent whole was not accepted", evidence.uploads(accepted=False)),
    # Recovery.
    Marker("outage_survived", "entries were taken after an outage of Redis", evidence.followed("serving", "deliver")),
    Marker("wipe_survived", "entries were taken after a wipe", evidence.followed("lost", "deliver", what="all")),
    Marker(
        "groups_survived",
        "entries were taken after groups were lost",
        evidence.followed("lost", "deliver", what="groups"),
    ),
    *(
        Marker(
            f"{service}_after_{disturbance}",
            f"{service} consumed again after {sentence}",
            recovery.consumed_again(service, disturbance),
        )
        for disturbance, (sentence, _) in recovery.DISTURBANCES.items()
        for service in recovery.SERVICES
    ),
    Marker("turned_away", "Redis had no place for a connection, and turned it away", told),
    Marker("group_made", "a missing consumer group was made anew", told),
    Marker("entries_lost", "Redis lost entries that it had acknowledged", events("delete", why="lost")),
    Marker("acknowledged_late", "an acknowledgement of replicas was missing, and a repeated call had it", told),
    Marker("untold_lost", "a failover took what nobody had been told of", durability.untold_lost),
    Marker("told_kept", "what somebody had been told of outlived a failover", durability.told_kept),
    Marker("sleeper_woke", "a paused process went on with its work", evidence.sleepers_woken),
    Marker("script_reloaded", "a script that Redis had forgotten was sent again", told),
    Marker("error_state", "Redis answered that it cannot serve now, and was asked again", told),
)


def hits(history: History) -> Mapping[str, int]:
    """How often each marker was hit, by its name."""
    emitted = Counter(event.text("name") for event in history.named("marker"))
    return {marker.name: marker.evidence(history) + emitted[marker.name] for marker in MARKERS}


def total(counts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    """The hits of many histories together; those that were never hit stand there with 0."""
    added = Counter({marker.name: 0 for marker in MARKERS})
    for count in counts:
        added.update(count)
    return dict(added)
