"""The terms of a run on real parts: settings that make it short, and bounds that a busy machine can keep."""

from collections.abc import Mapping
from typing import Any

from edgescale.config import Settings
from edgescale.harness.campaign.versions import commit_of, versions
from edgescale.harness.header import Bounds, Header, Terms
from edgescale.harness.plan import Plan

LANES = ("heartbeat", "text", "file")
# Of all services, where a plan has no others.
SETTINGS: Mapping[str, Any] = {
    "redis_timeout_ms": 1_000,
    "redis_block_ms": 1_000,
    "redis_patience_ms": 5_000,
    "inbox_recheck_ms": 1_500,
    "sweep_ms": 500,
    "lease_ms": 2_000,
    "handler_timeout_ms": 8_000,
    "drain_grace_ms": 3_000,
    "wait_default_ms": 30_000,
    "wait_max_ms": 60_000,
    "result_ttl_ms": 1_800_000,
    "attempts_max": 5,
    "lane_cap": 200,
    "pool_processes": 1,
}
# Beside the services, the clients, the nemesis and the server share the machine.
BOUNDS = Bounds(answer_ms=8_000, reclaim_ms=3_000, recovery_ms=8_000, stop_ms=8_000, reply_ms=2_500, cancel_ms=4_000)


# What a replica that hears everything may be behind, at most.
REPLICA_LAG_MS = 1_000


def header_of(plan: Plan, settings: Settings) -> Header:
    """What the run was, and by which terms it is judged.

    Servers sync before they reply, so nothing may be lost but by a failover, if nobody waits for the replica.
    """
    lossy = settings.durability != "strict" and any(fault.name == "failover" for fault in plan.faults)
    behind_ms = max((fault.for_ms for fault in plan.faults if fault.name == "replica_away"), default=0)
    terms = Terms(
        lease_ms=settings.lease_ms,
        sweep_ms=settings.sweep_ms,
        block_ms=settings.redis_block_ms,
        attempts_max=settings.attempts_max,
        result_ttl_ms=settings.result_ttl_ms,
        drain_grace_ms=settings.drain_grace_ms,
        partitions=settings.partitions,
        caps={lane: settings.cap_of(lane) for lane in LANES},
        slots=settings.worker_lanes,
        weights=settings.weights,
        slots_max=settings.worker_slots_max,
        durability=behind_ms + REPLICA_LAG_MS if lossy else "none",
    )
    return Header(plan.seed, plan.digest(), commit_of(), versions(), terms, BOUNDS)
