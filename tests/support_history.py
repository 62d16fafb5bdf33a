"""Histories told by hand: a small cast (client-1, ingestion-1, worker-1, worker-2, redis), one line for each step."""

import dataclasses
from typing import Any

from edgescale.harness.checkers import judge
from edgescale.harness.history import NS_PER_MS, Bounds, Event, Header, History, Phase, Terms

ONE, TWO = "worker-1#1", "worker-2#1"
TERMS = Terms(
    lease_ms=3_000,
    sweep_ms=500,
    block_ms=1_000,
    attempts_max=3,
    result_ttl_ms=600_000,
    drain_grace_ms=2_000,
    caps={"text": 3, "file": 3},
    slots={"text": 4, "file": 4},
    upload_bytes_held_max=1_000,
)


class Story:
    """A history in the making. Every step takes `tick_ms`; `at` and `after` move the clock.

    Args:
        tick_ms: one millisecond, or nothing where the teller has a clock of its own.
        terms: that differ from TERMS.
    """

    def __init__(self, *, tick_ms: int = 1, **terms: Any) -> None:
        self.header = Header(seed=7, terms=dataclasses.replace(TERMS, **terms), bounds=Bounds())
        self.events: list[Event] = []
        self.now_ms: float = 0
        self._tick_ms = tick_ms
        self._calls = 0
        self._open: dict[tuple[str, str, str], int] = {}
        self._entries: dict[str, str] = {}

    def at(self, now_ms: float) -> "Story":
        self.now_ms = now_ms
        return self

    def after(self, pause_ms: int) -> "Story":
        self.now_ms += pause_ms
        return self

    def tell(
        self,
        actor: str,
        operation: str,
        request_id: str = "",
        phase: Phase = "ok",
        call: int | None = None,
        **fields: Any,
    ) -> "Story":
        time_ns = int(self.now_ms * NS_PER_MS)
        self.events.append(Event(len(self.events), time_ns, actor, operation, phase, call, request_id, fields))
        self.now_ms += self._tick_ms
        return self

    def begin(self, actor: str, operation: str, request_id: str = "", **fields: Any) -> "Story":
        self._calls += 1
        self._open[actor, operation, request_id] = self._calls
        return self.tell(actor, operation, request_id, "invoke", self._calls, **fields)

    def end(self, actor: str, operation: str, request_id: str = "", phase: Phase = "ok", **fields: Any) -> "Story":
        call = self._open[actor, operation, request_id]
        return self.tell(actor, operation, request_id, phase, call, **fields)

    @property
    def last_call(self) -> int:
        """The number of the call that began last."""
        return self._calls

    # What participants do, in the usual way; any field can be told otherwise.

    def cast(self, *actors: str) -> "Story":
        for actor in actors or ("ingestion-1#1", ONE, TWO):
            self.tell(actor, "ready")
        return self

    def submit(self, request_id: str, client: str = "client-1", **fields: Any) -> "Story":
        usual: dict[str, Any] = {"kind": "text", "lane": "text", "digest": f"of {request_id}", "respond_async": False}
        return self.begin(client, "submit", request_id, **(usual | fields))

    def answer(self, request_id: str, client: str = "client-1", **fields: Any) -> "Story":
        usual: dict[str, Any] = {"state": "succeeded", "result_digest": f"result of {request_id}", "attempts": 1}
        return self.end(client, "submit", request_id, **(usual | fields))

    def refuse(self, request_id: str, reason: str = "LANE_FULL", client: str = "client-1", **fields: Any) -> "Story":
        return self.end(client, "submit", request_id, "fail", reason=reason, **fields)

    def unclear(self, request_id: str, reason: str = "UNAVAILABLE", client: str = "client-1") -> "Story":
        return self.end(client, "submit", request_id, "info", reason=reason)

    def fetch(self, request_id: str, client: str = "client-2", **fields: Any) -> "Story":
        usual: dict[str, Any] = {"state": "succeeded", "result_digest": f"result of {request_id}", "attempts": 1}
        return self.begin(client, "fetch", request_id).end(client, "fetch", request_id, **(usual | fields))

    def cancel(self, request_id: str, client: str = "client-2", **fields: Any) -> "Story":
        """The whole of it: asked, stored, deleted, heard."""
        self.begin(client, "cancel", request_id).cancelled(request_id)
        usual: dict[str, Any] = {"state": "cancelled", "attempts": 0}
        return self.end(client, "cancel", request_id, **(usual | fields))

    def cancelled(self, request_id: str) -> "Story":
        """What Redis sees of it; the entry goes at the same moment."""
        self.store(request_id, "cancelled", reason="CANCELLED")
        self.now_ms -= self._tick_ms
        return self.delete(request_id)

    def entry(self, request_id: str) -> str:
        return self._entries[request_id]

    def add(self, request_id: str, lane: str = "text", **fields: Any) -> "Story":
        self._entries[request_id] = f"{int(self.now_ms)}-0"
        return self.tell("redis", "add", request_id, lane=lane, entry=self.entry(request_id), **fields)

    def delete(self, request_id: str, lane: str = "text", **fields: Any) -> "Story":
        return self.tell("redis", "delete", request_id, lane=lane, entry=self.entry(request_id), **fields)

    def replay(self, request_id: str, lane: str = "text") -> "Story":
        """A dead letter is put back."""
        self.add(request_id, lane, why="replayed")
        return self.tell("redis", "replay", request_id, lane=lane, entry=self.entry(request_id), letter="0-1-0")

    def accept(self, request_id: str, lane: str = "text") -> "Story":
        self.add(request_id, lane)
        return self.tell("ingestion-1#1", "accept", request_id, lane=lane, entry=self.entry(request_id), new=True)

    def attach(self, request_id: str, ingestion: str = "ingestion-1#1") -> "Story":
        return self.tell(ingestion, "accept", request_id, lane="text", entry=self.entry(request_id), new=False)

    def deliver(self, request_id: str, worker: str = ONE, attempt: int = 1, **fields: Any) -> "Story":
        usual: dict[str, Any] = {"lane": "text", "how": "read" if attempt == 1 else "reclaim", "consumer": worker}
        usual |= {"entry": self.entry(request_id), "attempt": attempt}
        return self.tell(worker, "deliver", request_id, **(usual | fields))

    def handle(self, request_id: str, worker: str = ONE, attempt: int = 1, phase: Phase = "ok") -> "Story":
        fields: dict[str, Any] = {"entry": self.entry(request_id), "attempt": attempt, "consumer": worker}
        return self.begin(worker, "handle", request_id, **fields).end(worker, "handle", request_id, phase)

    def renew(self, request_id: str, worker: str = ONE, phase: Phase = "ok") -> "Story":
        fields: dict[str, Any] = {"entry": self.entry(request_id), "consumer": worker}
        return self.begin(worker, "renew", request_id, **fields).end(worker, "renew", request_id, phase, **fields)

    def settling(self, request_id: str, worker: str = ONE, **fields: Any) -> "Story":
        return self.begin(worker, "settle", request_id, **self._outcome(request_id, worker, fields))

    def settled(self, request_id: str, worker: str = ONE, **fields: Any) -> "Story":
        usual = self._outcome(request_id, worker, {"status": "settled"} | fields)
        return self.end(worker, "settle", request_id, **usual)

    def _outcome(self, request_id: str, worker: str, fields: dict[str, Any]) -> dict[str, Any]:
        usual: dict[str, Any] = {"state": "succeeded", "result_digest": f"result of {request_id}"}
        return {"entry": self.entry(request_id), "consumer": worker, **usual, **fields}

    def store(self, request_id: str, state: str = "succeeded", **fields: Any) -> "Story":
        usual: dict[str, Any] = {"result_digest": f"result of {request_id}" if state == "succeeded" else None}
        return self.tell("redis", "store", request_id, state=state, **(usual | fields))

    def settle(self, request_id: str, worker: str = ONE, **fields: Any) -> "Story":
        """The whole of it: asked, stored, deleted, heard."""
        state = fields.get("state", "succeeded")
        self.settling(request_id, worker, **fields).store(request_id, state).delete(request_id)
        return self.settled(request_id, worker, **fields)

    def give_back(self, request_id: str, worker: str = ONE, deliveries: int = 0, **fields: Any) -> "Story":
        usual: dict[str, Any] = {"entry": self.entry(request_id), "consumer": worker, "deliveries": deliveries}
        self.begin(worker, "give_back", request_id, **(usual | fields))
        return self.end(worker, "give_back", request_id, **(usual | fields))

    def task(self, request_id: str, worker: str = ONE) -> "Story":
        """A request whose every step goes well."""
        self.submit(request_id).accept(request_id).deliver(request_id, worker).handle(request_id, worker)
        return self.settle(request_id, worker).answer(request_id)

    def nemesis(self, operation: str, node: str) -> "Story":
        return self.tell("nemesis", operation, node=node)

    def fault(self, name: str, targets: str) -> "Story":
        return self.begin("nemesis", "fault", fault=name, targets=targets)

    def heal(self) -> "Story":
        return self.end("nemesis", "fault")

    def final(self, *request_ids: str, **fields: Any) -> "Story":
        """The final section: these tasks, and the lanes empty."""
        for request_id in request_ids:
            usual: dict[str, Any] = {
                "state": "succeeded",
                "result_digest": f"result of {request_id}",
                "attempts": 1,
                "dead": False,
            }
            self.tell("probe", "final", request_id, **(usual | fields))
        for lane in self.header.terms.caps:
            self.tell("probe", "final", lane=lane, backlog=0, pending=0)
        return self

    def history(self) -> History:
        return History.ordered(self.header, self.events)


def broken(story: Story) -> set[str]:
    """The rules that the story breaks, as `P1 lost`."""
    return {f"{verdict.promise} {finding.rule}" for verdict in judge(story.history()) for finding in verdict.findings}


def outcomes(story: Story) -> dict[str, str]:
    """Each checker's outcome."""
    return {verdict.promise: verdict.outcome for verdict in judge(story.history())}
