"""A toy of the whole system, small enough to be right: what it records must satisfy every checker, under any faults.

Processes are generators. They yield a number to sleep so many milliseconds, or a function to have it carried out by
Redis; what they get back is its value, or GONE when request or reply was lost. A dead node's processes never go on.
`bug` breaks one thing on purpose, for the checkers to find.
"""

import copy
import heapq
import random
from collections.abc import Callable, Generator
from itertools import count
from typing import Any

from edgescale.harness.history import Phase
from tests.support_history import Story

Process = Generator[Any, Any, None]
GONE = object()
LEASE, SWEEP, BLOCK, REPLY, RECHECK, PATIENCE = 3_000, 500, 1_000, 2_000, 2_000, 3_000
TRIES, SLOTS, CAP, GRACE, SYNC = 3, 4, 12, 2_000, 700
TERMINAL = {"succeeded", "failed", "dead_lettered"}


class Node:
    """One incarnation of a process."""

    def __init__(self, name: str, incarnation: int) -> None:
        self.name, self.incarnation, self.actor = name, incarnation, f"{name}#{incarnation}"
        self.dead = self.paused = self.stopping = False
        self.postponed: list[Callable[[], None]] = []
        self.loops = 0
        self.held: dict[str, int] = {}
        self.settling: set[str] = set()
        self.notified: set[str] = set()
        self.open_calls: dict[tuple[str, str], None] = {}


class Redis:
    """Tasks and one stream, told to the story as they change."""

    def __init__(self, toy: "Toy") -> None:
        self.toy = toy
        self.tasks: dict[str, dict[str, Any]] = {}
        self.stream: dict[str, str] = {}
        self.unread: list[str] = []
        self.pending: dict[str, list[Any]] = {}  # entry: owner, last seen, deliveries
        self.readers: list[Callable[[], bool]] = []
        self.ids = count(1)
        self.saved_at = 0.0
        self.saved = self.image()

    def submit(self, request_id: str) -> str:
        if request_id in self.tasks and self.toy.bug != "no_dedupe":
            return "known"
        if len(self.stream) >= CAP and self.toy.bug != "no_cap":
            return "full"
        if self.toy.bug == "trim" and len(self.stream) >= CAP // 2:
            self.delete(next(iter(self.stream)))
        entry = f"{next(self.ids)}-0"
        self.stream[entry] = request_id
        self.unread.append(entry)
        self.tasks[request_id] = {"state": "queued", "entry": entry}
        self.toy.story.tell("redis", "add", request_id, lane="text", entry=entry)
        while self.readers and self.unread:
            self.readers.pop(0)()
        return "new"

    def read(self, consumer: str) -> tuple[str, str, int] | None:
        if not self.unread:
            return None
        entry = self.unread.pop(0)
        self.pending[entry] = [consumer, self.toy.now, 1]
        return entry, self.stream[entry], 1

    def reclaim(self, consumer: str) -> tuple[str, str, int] | None:
        lease = {"early_reclaim": LEASE / 4, "late_reclaim": 3 * LEASE}.get(self.toy.bug, LEASE)
        for entry, pending in self.pending.items():
            if self.toy.now - pending[1] >= lease:
                pending[:] = [consumer, self.toy.now, pending[2] + 1]
                return entry, self.stream[entry], pending[2]
        return None

    def owned(self, consumer: str, entry: str) -> bool:
        return entry in self.pending and self.pending[entry][0] == consumer

    def renew(self, consumer: str, entry: str) -> bool:
        if self.owned(consumer, entry):
            self.pending[entry][1] = self.toy.now
        return self.owned(consumer, entry)

    def give_back(self, consumer: str, entry: str, idle: float, *, counts: bool) -> bool:
        owned = self.owned(consumer, entry)
        if owned:
            self.pending[entry] = ["nobody", self.toy.now - idle, self.pending[entry][2] - (not counts)]
        return owned

    def settle(self, consumer: str, entry: str, request_id: str, state: str, digest: str | None, attempts: int) -> str:
        task = self.tasks.get(request_id, {})
        owned = self.owned(consumer, entry) or (self.toy.bug == "no_fence" and entry in self.pending)
        if "by" in task:
            status = "settled" if task["by"] == (consumer, entry, attempts) else "superseded"
        elif not owned:
            status = "lost"
        else:
            status = "settled"
            by = {"by": (consumer, entry, attempts), "attempts": attempts}
            self.tasks[request_id] = {"state": state, "digest": digest, **by}
            self.toy.story.tell("redis", "store", request_id, state=state, result_digest=digest)
            self.toy.notify(request_id)
        if owned and self.toy.bug != "no_delete":
            self.delete(entry)
        return status

    def delete(self, entry: str, why: str = "") -> None:
        self.pending.pop(entry, None)
        self.unread = [other for other in self.unread if other != entry]
        request_id = self.stream.pop(entry, None)
        if request_id is not None:
            self.toy.story.tell("redis", "delete", request_id, lane="text", entry=entry, why=why)

    def image(self) -> Any:
        return copy.deepcopy((self.tasks, self.stream, self.unread, self.pending))

    def save(self) -> None:
        self.saved_at, self.saved = self.toy.now, self.image()
        self.toy.later(SYNC, self.save)

    def lose_suffix(self) -> None:
        """A power cut: what was written since the last save is gone, what was deleted since is back."""
        before = dict(self.stream)
        for entry in [entry for entry in before if entry not in self.saved[1]]:
            self.delete(entry, why="lost")
        self.tasks, self.stream, self.unread, self.pending = copy.deepcopy(self.saved)
        for entry in [entry for entry in self.stream if entry not in before]:
            fields: dict[str, Any] = {"lane": "text", "entry": entry, "why": "restored"}
            self.toy.story.tell("redis", "add", self.stream[entry], **fields)
        self.toy.story.tell("redis", "lost", what="suffix", since_ns=int(self.saved_at * 1_000_000))

    def wipe(self) -> None:
        for entry in list(self.stream):
            self.delete(entry, why="lost")
        self.tasks.clear()
        self.toy.story.tell("redis", "lost", what="all")


class Toy:
    """Two ingestion processes and three workers.

    Args:
        seed: of everything that is drawn.
        bug: what is broken on purpose; empty for nothing.
    """

    def __init__(self, seed: int, bug: str = "") -> None:
        self.random = random.Random(seed)
        self.bug = bug
        self.now = 0.0
        self.serving = True
        self.cut: set[str] = set()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.story = Story(
            tick_ms=0,
            caps={"text": CAP},
            slots={"text": SLOTS},
            lease_ms=LEASE,
            sweep_ms=SWEEP,
            attempts_max=TRIES,
            durability=SYNC,
        )
        self.redis = Redis(self)
        self.redis.save()
        self.nodes: dict[str, Node] = {}

    # Time and messages.

    def later(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + delay, next(self.order), act))

    def run(self, until: float) -> None:
        while self.queue and self.queue[0][0] <= until:
            self.now, _, act = heapq.heappop(self.queue)
            self.story.at(self.now)
            act()
        self.now = until
        self.story.at(until)

    def go_on(self, node: Node, process: Process, value: Any = None) -> None:
        if node.dead:
            return
        if node.paused:
            node.postponed.append(lambda: self.go_on(node, process, value))
            return
        try:
            wanted = process.send(value)
        except StopIteration:
            return
        if callable(wanted):
            self.later(self.latency(), lambda: self.carry_out(node, process, wanted, self.now + REPLY))
        else:
            self.later(wanted, lambda: self.go_on(node, process))

    def latency(self) -> float:
        return self.random.expovariate(1 / 3) + 0.1

    def lost(self, node: Node) -> bool:
        return not self.serving or (node.name in self.cut and self.random.random() < 0.6)

    def carry_out(self, node: Node, process: Process, act: Callable[[], Any], given_up: float) -> None:
        """At Redis: the request may have been lost on its way, and so may its reply."""
        blocks = node.name.startswith("worker") and isinstance(act, Reading)
        if self.lost(node):
            self.later(max(given_up - self.now, 0), lambda: self.go_on(node, process, GONE))
        elif blocks and not self.redis.unread:
            self.block(node, process, act)
        else:
            self.reply(node, process, act())

    def reply(self, node: Node, process: Process, value: Any) -> None:
        if self.lost(node):
            self.later(REPLY, lambda: self.go_on(node, process, GONE))
        else:
            self.later(self.latency(), lambda: self.go_on(node, process, value))

    def block(self, node: Node, process: Process, act: Callable[[], Any]) -> None:
        """A read that waits at the server: served in turn, or ended after a while."""
        waits = [True]

        def serve() -> bool:
            if waits.pop() if waits else False:
                self.reply(node, process, act())
                return True
            return False

        def end() -> None:
            if waits:
                waits.pop()
                self.reply(node, process, None)

        self.redis.readers.append(serve)
        self.later(BLOCK, end)

    # Nodes.

    def start(self, name: str) -> None:
        before = self.nodes.get(name)
        node = self.nodes[name] = Node(name, before.incarnation + 1 if before else 1)
        self.story.nemesis("start", node.actor).tell(node.actor, "ready")
        if name.startswith("worker"):
            for process in (fetch(self, node), reclaim(self, node), renew_all(self, node)):
                self.go_on(node, process)

    def crash(self, node: Node) -> None:
        self.story.nemesis("crash", node.actor)
        node.dead = True
        for client, request_id in node.open_calls:
            self.story.end(client, "submit", request_id, "info", reason="CRASHED")

    def pause(self, node: Node) -> None:
        self.story.nemesis("pause", node.actor)
        node.paused = True

    def wake(self, node: Node) -> None:
        if node.dead or not node.paused:
            return
        self.story.nemesis("resume", node.actor)
        node.paused = False
        postponed, node.postponed = node.postponed, []
        for act in postponed:
            act()

    def notify(self, request_id: str) -> None:
        for name, node in self.nodes.items():
            if name.startswith("ingestion") and self.random.random() < 0.9 and not self.lost(node):
                self.later(self.latency(), lambda node=node: node.notified.add(request_id))  # type: ignore[misc]

    def final(self) -> None:
        for request_id, task in self.redis.tasks.items():
            fields: dict[str, Any] = {
                "state": task["state"],
                "result_digest": task.get("digest"),
                "attempts": task.get("attempts", 0),
            }
            dead = task["state"] == "dead_lettered" and self.bug != "no_dead_letter"
            self.story.tell("probe", "final", request_id, **fields, dead=dead)
        stream, pending = self.redis.stream, self.redis.pending
        self.story.tell("probe", "final", lane="text", backlog=len(stream), pending=len(pending))


class Reading:
    """A read that may wait at the server."""

    def __init__(self, redis: Redis, consumer: str) -> None:
        self.redis, self.consumer = redis, consumer

    def __call__(self) -> Any:
        return self.redis.read(self.consumer)


# What workers do.


def fetch(toy: Toy, node: Node) -> Process:
    node.loops += 1
    while not node.stopping:
        if len(node.held) >= SLOTS:
            yield 5
            continue
        got = yield Reading(toy.redis, node.actor)
        if got is None or got is GONE:
            yield 1
        elif not (toy.bug == "deaf_after_wipe" and node.name == "worker-1" and toy.now > 20_000):
            take(toy, node, got, "read")
    node.loops -= 1


def reclaim(toy: Toy, node: Node) -> Process:
    node.loops += 1
    while not node.stopping and toy.bug != "no_reclaim":
        yield toy.random.uniform(SWEEP / 2, SWEEP)
        while len(node.held) < SLOTS - 1 and not node.stopping:
            got = yield lambda: toy.redis.reclaim(node.actor)
            if got is None or got is GONE:
                break
            if got[0] not in node.held:
                take(toy, node, got, "reclaim")
    node.loops -= 1


def take(toy: Toy, node: Node, got: tuple[str, str, int], how: str) -> None:
    entry, request_id, attempt = got
    node.held[entry] = attempt
    fields: dict[str, Any] = {"lane": "text", "entry": entry, "attempt": attempt, "consumer": node.actor, "how": how}
    toy.story.tell(node.actor, "deliver", request_id, **fields)
    toy.go_on(node, handle(toy, node, entry, request_id, attempt))


def handle(toy: Toy, node: Node, entry: str, request_id: str, attempt: int) -> Process:
    fields: dict[str, Any] = {"entry": entry, "consumer": node.actor}
    tries = 99 if toy.bug == "no_end" else 2 if toy.bug == "early_end" else TRIES
    phase: Phase = "fail"
    if toy.bug == "ack_first":
        yield lambda: toy.redis.delete(entry)
    if attempt <= tries:
        toy.story.begin(node.actor, "handle", request_id, **fields, attempt=attempt)
        yield toy.random.choice([5_000, 7_000] if request_id.endswith("7") else [5, 20, 50, 300, 1_500])
        if request_id.endswith("3") and toy.random.random() < 0.5 and toy.now < 60_000:
            toy.crash(node)
            toy.later(300, lambda: toy.start(node.name))
            return
        fails = request_id.endswith("5") or toy.random.random() < 0.1
        phase = "fail" if fails else "ok"
        toy.story.end(node.actor, "handle", request_id, phase)
    if entry not in node.held:
        return
    if phase == "fail" and attempt < tries:
        delay = toy.random.uniform(0, 1_000)
        yield from give_back(toy, node, entry, request_id, LEASE - delay, attempt, counts=True)
    else:
        yield from settle(toy, node, entry, request_id, attempt, "dead_lettered" if phase == "fail" else "succeeded")
    node.held.pop(entry, None)


def settle(toy: Toy, node: Node, entry: str, request_id: str, attempt: int, state: str) -> Process:
    digest = f"{request_id} by {node.actor}" if state == "succeeded" else None
    fields: dict[str, Any] = {"entry": entry, "consumer": node.actor, "state": state, "result_digest": digest}
    node.settling.add(entry)
    toy.story.begin(node.actor, "settle", request_id, **fields)
    status = GONE
    while status is GONE:
        status = yield lambda: toy.redis.settle(node.actor, entry, request_id, state, digest, attempt)
    toy.story.end(node.actor, "settle", request_id, **fields, status=status)


def give_back(toy: Toy, node: Node, entry: str, request_id: str, idle: float, attempt: int, *, counts: bool) -> Process:
    fields: dict[str, Any] = {"entry": entry, "consumer": node.actor, "delay_ms": int(LEASE - idle)}
    fields["deliveries"] = attempt if counts else attempt - 1
    node.settling.add(entry)
    toy.story.begin(node.actor, "give_back", request_id, **fields)
    kept = GONE
    for _ in range(3):
        if kept is GONE:
            kept = yield lambda: toy.redis.give_back(node.actor, entry, idle, counts=counts)
    phase: Phase = "info" if kept is GONE else "ok" if kept else "fail"
    toy.story.end(node.actor, "give_back", request_id, phase)


def renew_all(toy: Toy, node: Node) -> Process:
    while toy.bug != "no_renewal":
        for entry in node.held:
            if entry in toy.redis.stream:
                toy.go_on(node, renew(toy, node, entry, toy.redis.stream[entry]))
        yield LEASE / 4


def renew(toy: Toy, node: Node, entry: str, request_id: str) -> Process:
    fields: dict[str, Any] = {"entry": entry, "consumer": node.actor}
    call = toy.story.begin(node.actor, "renew", request_id, **fields).last_call
    kept = yield lambda: toy.redis.renew(node.actor, entry)
    phase: Phase = "info" if kept is GONE else "ok" if kept else "fail"
    toy.story.tell(node.actor, "renew", request_id, phase, call, **fields)
    if phase == "fail" and entry not in node.settling:
        node.held.pop(entry, None)


def drain(toy: Toy, node: Node) -> Process:
    toy.story.tell(node.actor, "stopping")
    if toy.bug == "deaf_to_stop":
        yield 9_000
    node.stopping = True
    while node.loops and node.stopping:
        yield 10
    patience = GRACE
    while node.held and patience > 0:
        yield 10
        patience -= 10
    for entry in [entry for entry in node.held if entry not in node.settling]:
        attempt = node.held.pop(entry, 0)
        if attempt and entry in toy.redis.stream and toy.bug != "no_give_back":
            request_id = toy.redis.stream[entry]
            idle = 0 if toy.bug == "slow_give_back" else LEASE
            yield from give_back(toy, node, entry, request_id, idle, attempt, counts=False)
    while node.held:
        yield 10
    toy.story.tell(node.actor, "stopped")
    node.dead = True


# What ingestion does.


def serve(toy: Toy, node: Node, client: str, request_id: str, wait: float) -> Process:
    began = toy.now
    reply: Any = GONE
    while reply is GONE and toy.now < began + PATIENCE:
        reply = yield lambda: toy.redis.submit(request_id)
    if reply is GONE:
        answer(toy, node, client, request_id, "info", reason="UNAVAILABLE")
        return
    if reply == "full":
        answer(toy, node, client, request_id, "fail", reason="LANE_FULL")
        return
    entry = toy.redis.tasks.get(request_id, {}).get("entry", "")
    toy.story.tell(node.actor, "accept", request_id, lane="text", entry=entry, new=reply == "new")
    yield from wait_for(toy, node, client, request_id, wait)


def wait_for(toy: Toy, node: Node, client: str, request_id: str, wait: float) -> Process:
    began = looked = toy.now
    while toy.now < began + wait:
        if request_id in node.notified or (toy.now >= looked + RECHECK and toy.bug != "no_recheck"):
            looked = toy.now
            task = yield lambda: dict(toy.redis.tasks.get(request_id, {}))
            if task == {} and toy.bug != "no_resubmit":
                yield lambda: toy.redis.submit(request_id)
            elif task is not GONE and task.get("state") in TERMINAL:
                told = task if toy.bug != "two_answers" or client != "client-2" else task | {"digest": "another"}
                tell_result(toy, node, client, request_id, told)
                return
            node.notified.discard(request_id)
        yield 50
    answer(toy, node, client, request_id, "info", reason="WAIT_EXPIRED")


def tell_result(toy: Toy, node: Node, client: str, request_id: str, task: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"state": task["state"], "result_digest": task["digest"], "attempts": task["attempts"]}
    if task["state"] == "succeeded":
        answer(toy, node, client, request_id, "ok", **fields)
    else:
        answer(toy, node, client, request_id, "fail", reason="TASK_FAILED", **fields)


def answer(toy: Toy, node: Node, client: str, request_id: str, phase: Phase, **fields: Any) -> None:
    del node.open_calls[client, request_id]
    toy.story.end(client, "submit", request_id, phase, **fields)


# A day.


def submit(toy: Toy, request_id: str, client: str) -> None:
    name = toy.random.choice(["ingestion-1", "ingestion-2"])
    node = toy.nodes[name]
    if node.dead or (client, request_id) in node.open_calls:
        return
    toy.story.submit(request_id, client, via=name)
    node.open_calls[client, request_id] = None
    toy.go_on(node, serve(toy, node, client, request_id, toy.random.choice([1_000, 12_000, 60_000])))


def trouble(toy: Toy) -> None:
    """One fault, and its end a while later."""
    length = toy.random.choice([50, 500, 2_500, 6_000])
    name = toy.random.choice(sorted(toy.nodes))
    node = toy.nodes[name]
    match toy.random.choice(["crash", "pause", "pause", "cut", "away", "stop", "stop", "wipe", "power"]):
        case "crash" if not node.dead:
            toy.crash(node)
            toy.later(length, lambda: toy.start(name))
        case "pause" if not node.dead and not node.paused:
            toy.pause(node)
            toy.later(length, lambda: toy.wake(node))
        case "cut" if name not in toy.cut:
            toy.cut.add(name)
            call = toy.story.fault("cut", name).last_call
            toy.later(length, lambda: heal(toy, name, call))
        case "away" if toy.serving:
            toy.serving = False
            toy.story.tell("redis", "away")
            toy.later(length, lambda: serve_again(toy))
        case "stop" if not node.dead and not node.paused and not node.stopping and name.startswith("worker"):
            toy.story.nemesis("stop", node.actor)
            toy.go_on(node, drain(toy, node))
            toy.later(10_000, lambda: toy.start(name) if toy.nodes[name].dead else None)
        case "power" if toy.serving:
            toy.redis.lose_suffix()
        case "wipe" if toy.serving and toy.random.random() < 0.3:
            toy.redis.wipe()


def heal(toy: Toy, name: str, call: int) -> None:
    toy.cut.discard(name)
    toy.story.tell("nemesis", "fault", call=call)


def serve_again(toy: Toy) -> None:
    toy.serving = True
    toy.story.tell("redis", "serving")


def day(seed: int, bug: str = "", troubles: int = 6) -> Story:
    """A day with requests and troubles in its first forty seconds, and then peace."""
    toy = Toy(seed, bug)
    for name in ("ingestion-1", "ingestion-2", "worker-1", "worker-2", "worker-3"):
        toy.start(name)
    rush = toy.random.uniform(100, 40_000)
    for number in range(80):
        moment = toy.random.uniform(100, 40_000) if number < 60 else rush
        for client in ("client-1", "client-2")[: 1 + (toy.random.random() < 0.3)]:
            delay = moment + toy.random.uniform(0, 50)
            toy.later(delay, lambda number=number, client=client: submit(toy, f"r{number}", client))  # type: ignore[misc]
    for _ in range(troubles):
        toy.later(toy.random.uniform(0, 40_000), lambda: trouble(toy))
    toy.run(150_000)
    toy.final()
    return toy.story
