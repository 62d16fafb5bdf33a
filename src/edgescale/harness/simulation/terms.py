"""The terms of a simulated run: settings in which everything is as fast as is still told apart, and bounds for them."""

from collections.abc import Mapping
from typing import Any

from edgescale.config import Settings
from edgescale.harness.header import Bounds, Header, Terms
from edgescale.harness.plan import Plan

LANES = ("heartbeat", "text", "file")
# Of all services, where a plan has no others.
SETTINGS: Mapping[str, Any] = {
    "redis_timeout_ms": 1_000,
    "redis_block_ms": 1_000,
    "redis_patience_ms": 2_000,
    "inbox_recheck_ms": 1_500,
    "sweep_ms": 500,
    "handler_timeout_ms": 4_000,
    "drain_grace_ms": 1_500,
    "wait_default_ms": 20_000,
    "wait_max_ms": 30_000,
    "result_ttl_ms": 300_000,
    "lane_cap": 100,
}
BOUNDS = Bounds(answer_ms=5_000, reclaim_ms=1_000, recovery_ms=5_000, stop_ms=5_000, reply_ms=1_500)
LOSSY = frozenset({"power_loss", "failover"})


def header_of(plan: Plan, settings: Settings, loss_window_ms: int) -> Header:
    """What the run was, and by which terms it is judged."""
    lossy = any(fault.name in LOSSY for fault in plan.faults)
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
        # Strict forgives nothing, whatever befalls the server.
        durability=loss_window_ms if lossy and loss_window_ms and settings.durability != "strict" else "none",
    )
    return Header(seed=plan.seed, plan=plan.digest(), terms=terms, bounds=BOUNDS)
