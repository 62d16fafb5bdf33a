"""The workloads that plans are mixed of. See `workload` for how one is written."""

import math
from collections.abc import Iterator
from dataclasses import replace

from edgescale.harness.plan import Request
from edgescale.harness.workload import Scene, workload

KIB = 1024
CHUNK_BYTES = 64 * KIB


@workload
def steady(scene: Scene) -> Iterator[Request]:
    """Short texts in an open loop: they arrive when they do, whatever becomes of those before."""
    at_ms = 0.0
    pause_ms = scene.load_ms / (60 * scene.rate)
    number = 0
    while at_ms < scene.load_ms:
        script = f"work {scene.rng.randrange(1, 60)}"
        yield scene.text(f"steady-{number}", script, at_ms=int(at_ms))
        number += 1
        at_ms += -math.log(1 - scene.rng.random()) * pause_ms


@workload
def heartbeats(scene: Scene) -> Iterator[Request]:
    """Agents that beat, and forget."""
    for agent in scene.some(3):
        every_ms = scene.rng.randrange(300, 900)
        for beat in range(scene.load_ms // every_ms):
            request_id = f"beat-{agent}-{beat}"
            at_ms = beat * every_ms + scene.rng.randrange(50)
            yield Request(at_ms, f"agent-{agent}", "heartbeat", request_id, scene.door(), str(beat + 1))


@workload
def burst(scene: Scene) -> Iterator[Request]:
    """More than the lane can hold, all at once."""
    at_ms = scene.moment()
    for number in range(scene.cap + max(3, scene.cap // 3)):
        yield scene.text(f"burst-{number}", "work 30", at_ms=at_ms + scene.rng.randrange(60))


@workload
def rush(scene: Scene) -> Iterator[Request]:
    """All lanes at once: agents that beat at the same moment, texts, files."""
    at_ms = scene.moment()
    for number in scene.some(16):
        request_id, later_ms = f"rush-beat-{number}", scene.rng.randrange(40)
        yield Request(at_ms + later_ms, f"rusher-{number}", "heartbeat", request_id, scene.door(), "1")
    for number in scene.some(16):
        script = f"work {scene.rng.randrange(5, 40)}"
        yield scene.text(f"rush-{number}", script, at_ms=at_ms + scene.rng.randrange(40))
    for number in scene.some(3):
        name, later_ms = f"rush-file-{number}", scene.rng.randrange(40)
        yield Request(at_ms + later_ms, f"client-{name}", "file", name, scene.door(), size_bytes=500)


@workload
def repeated(scene: Scene) -> Iterator[Request]:
    """Requests that are sent again: at the same time, a little later, long after."""
    for number in scene.some(8):
        first = scene.text(f"again-{number}", f"work {scene.rng.randrange(1, 400)}")
        yield first
        for copy in range(scene.rng.randrange(1, 4)):
            later_ms = scene.rng.choice([0, 1, scene.rng.randrange(500), scene.rng.randrange(4_000)])
            door = first.door if scene.rng.random() < 1 / 3 else scene.door()
            yield replace(first, at_ms=first.at_ms + later_ms, client=f"{first.client}-{copy}", door=door)


@workload
def conflicting(scene: Scene) -> Iterator[Request]:
    """Requests under an id that other content has taken, or is about to take."""
    for number in scene.some(6):
        first = scene.text(f"conflict-{number}", scene.rng.choice(["work 50", "work 50", "work 900"]))
        yield first
        later_ms = scene.rng.choice([0, scene.rng.randrange(2_000)])
        other = replace(first, client=f"{first.client}-other", door=scene.door(), script="work 50 otherwise")
        yield replace(other, at_ms=first.at_ms + later_ms)


@workload
def slow(scene: Scene) -> Iterator[Request]:
    """Handlers that take longer than a lease."""
    for number in scene.some(3):
        yield scene.text(f"slow-{number}", f"work {int(scene.lease_ms * scene.rng.uniform(1.1, 1.9))}")


@workload
def failing(scene: Scene) -> Iterator[Request]:
    """Handlers that fail at first, ask for another attempt, reject, or never succeed."""
    most = scene.attempts_max
    for number in scene.some(8):
        times = scene.rng.randrange(1, most + 1)
        later = f"after {scene.rng.choice([0, 200, scene.lease_ms + 700, 3 * scene.lease_ms])}"
        script = scene.rng.choice([f"fail {times}", f"fail {most}", f"wait {times} {later}", "reject", f"hang {times}"])
        yield scene.text(f"failing-{number}", f"{script} work {scene.rng.randrange(1, 80)}")


@workload
def scheduled(scene: Scene) -> Iterator[Request]:
    """Texts that are not due yet, and texts that nobody wants any more after a while."""
    for number in scene.some(6):
        script = f"work {scene.rng.randrange(1, 200)}"
        due_ms = scene.rng.choice([0, scene.rng.randrange(50, 4_000), scene.lease_ms * 2 + 300])
        lasts_ms = scene.rng.choice([0, 1, scene.rng.randrange(50, 2_000)])
        expires_ms = due_ms + lasts_ms if lasts_ms else 0
        yield scene.text(f"scheduled-{number}", script, not_before_ms=due_ms, expires_ms=expires_ms)


@workload
def ill(scene: Scene) -> Iterator[Request]:
    """Texts that cannot succeed before some time, as they may when they are replayed; and who asks for them again."""
    for number in scene.some(5):
        until_ms = scene.rng.randrange(500, scene.load_ms)
        at_ms = scene.rng.randrange(until_ms)
        first = scene.text(f"ill-{number}", f"ill {until_ms} work {scene.rng.randrange(1, 300)}", at_ms=at_ms)
        yield first
        for _ in range(scene.rng.randrange(1, 3)):
            yield _fetch(scene, first, at_ms + scene.rng.randrange(500, 6_000))
        if scene.rng.random() < 1 / 2:
            yield replace(first, at_ms=at_ms + scene.rng.randrange(1_000, 5_000), client=f"{first.client}-again")


@workload
def killers(scene: Scene) -> Iterator[Request]:
    """Texts that take their worker's process with them, once or for as long as they are tried."""
    for number in scene.some(1):
        times = scene.rng.choice([1, 2, scene.attempts_max])
        yield scene.text(f"killer-{number}", f"die {times} work 10")


@workload
def impatient(scene: Scene) -> Iterator[Request]:
    """Callers with short deadlines, who ask for the result later."""
    for number in scene.some(8):
        deadline_ms = scene.rng.choice([20, 100, scene.rng.randrange(1_500)]) + 1
        first = scene.text(f"impatient-{number}", f"work {scene.rng.randrange(1, 900)}", deadline_ms=deadline_ms)
        yield first
        yield _fetch(scene, first, first.at_ms + deadline_ms + scene.rng.randrange(3_000))


@workload
def leaving(scene: Scene) -> Iterator[Request]:
    """Callers who cancel."""
    for number in scene.some(10):
        cancel_after_ms = scene.rng.choice([1, 2, 4, scene.rng.randrange(1, 300)])
        yield scene.text(f"leaving-{number}", f"work {scene.rng.randrange(1, 400)}", cancel_after_ms=cancel_after_ms)


@workload
def latecomers(scene: Scene) -> Iterator[Request]:
    """Requests that want no answer, and several who ask for the result, early and late, some for nothing."""
    for number in scene.some(6):
        first = replace(scene.text(f"late-{number}", f"work {scene.rng.randrange(1, 900)}"), respond_async=True)
        yield first
        for _ in range(scene.rng.randrange(1, 4)):
            yield _fetch(scene, first, first.at_ms + scene.rng.randrange(5, 4_000))
    nothing = scene.text("nothing-0", "")
    yield _fetch(scene, nothing, nothing.at_ms)


@workload
def uploads(scene: Scene) -> Iterator[Request]:
    """Files, some of them sent twice, some broken off midway, some by slow senders, some by senders in a hurry."""
    for number in scene.some(4):
        size_bytes = scene.rng.choice([0, 1, 500, 40 * KIB, 64 * KIB, 150 * KIB])
        name = f"file-{number}"
        pause_ms = scene.rng.choice([5, 5, 300, 1_500])
        first = Request(
            scene.moment(), f"client-{name}", "file", name, scene.door(), size_bytes=size_bytes, pause_ms=pause_ms
        )
        if scene.rng.random() < 1 / 4:
            # So little is left once the file is in that nobody may hear whether its task was accepted.
            sending_ms = pause_ms * math.ceil(size_bytes / CHUNK_BYTES)
            first = replace(first, deadline_ms=sending_ms + scene.rng.randrange(1, 40))
        what = scene.rng.choice(["whole", "whole", "twice", "cut", "leave"])
        if what == "cut":
            yield replace(first, cut_after_bytes=scene.rng.randrange(size_bytes + 1))
        elif what == "leave":
            yield replace(first, cancel_after_ms=scene.rng.randrange(1, 40))
        else:
            yield first
        if what == "twice":
            yield replace(first, at_ms=first.at_ms + scene.rng.randrange(800), client=f"{first.client}-again")


@workload
def cancelled(scene: Scene) -> Iterator[Request]:
    """Texts that somebody cancels: queued, running, between tries, ended, twice; a file; and what nobody sent."""
    at_ms = scene.moment()
    # More at once than there are slots for, so that some are cancelled before anybody has them.
    for number in range(scene.cap // 2):
        first = scene.text(f"cancelled-queued-{number}", "work 700", at_ms=at_ms)
        yield first
        if scene.rng.random() < 1 / 2:
            yield _cancel(scene, first, at_ms + scene.rng.randrange(300))
    for number in scene.some(6):
        script = scene.rng.choice(["work 300", "work 3500", "hang 3", "wait 2 work 50", "fail 3"])
        first = scene.text(f"cancelled-{number}", script)
        yield first
        at_ms = first.at_ms + scene.rng.choice([0, scene.rng.randrange(20), scene.rng.randrange(3_000)])
        for _ in range(scene.rng.choice([1, 1, 2])):
            yield _cancel(scene, first, at_ms)
            at_ms += scene.rng.choice([0, scene.rng.randrange(1_000)])
        if scene.rng.random() < 1 / 3:
            yield replace(first, at_ms=at_ms, client=f"{first.client}-again", door=scene.door())
    name = "cancelled-file"
    file = Request(scene.moment(), f"client-{name}", "file", name, scene.door(), size_bytes=40 * KIB)
    yield file
    yield _cancel(scene, file, file.at_ms + scene.rng.randrange(100))
    yield _cancel(scene, scene.text("cancelled-nothing", ""), scene.moment())


@workload
def ordered(scene: Scene) -> Iterator[Request]:
    """Texts of a few ordering keys: slow, failing, cancelled, not due, sent again; at times far too many of one key."""
    slow = f"work {int(scene.lease_ms * 1.3)}"
    failing = ["fail 1", f"fail {scene.attempts_max}", "reject", "wait 1 after 400", "hang 1", "die 1"]
    for key in scene.some(2):
        at_ms = scene.moment()
        for number in scene.some(4):
            script = scene.rng.choice(["work 5", "work 30", slow, scene.rng.choice(failing)])
            due_ms, expires_ms = scene.rng.choice([(0, 0), (0, 0), (0, 0), (300, 0), (0, 500)])
            first = scene.text(f"key-{key}:{number}", script, at_ms=at_ms, not_before_ms=due_ms, expires_ms=expires_ms)
            first = replace(first, ordering_key=f"key-{key}", client=f"client-key-{key}-{number}")
            yield first
            if scene.rng.random() < 1 / 4:
                yield _cancel(scene, first, at_ms + scene.rng.randrange(1_500))
            if scene.rng.random() < 1 / 6 and not (due_ms or expires_ms):
                yield replace(first, at_ms=at_ms + scene.rng.randrange(2_000), client=f"{first.client}-again")
            at_ms += scene.rng.choice([0, 0, 1, scene.rng.randrange(200)])
    if scene.rng.random() < 1 / 3:
        at_ms = scene.moment()
        for number in range(scene.cap + 3):
            flood = scene.text(f"flood:{number}", "work 2", at_ms=at_ms + scene.rng.randrange(40))
            yield replace(flood, ordering_key="flood", client=f"client-flood-{number}")


def _cancel(scene: Scene, of: Request, at_ms: int) -> Request:
    return Request(at_ms, f"{of.client}-cancels", "cancel", of.request_id, scene.door())


def _fetch(scene: Scene, of: Request, at_ms: int) -> Request:
    wait_ms = scene.rng.choice([0, 200, 8_000])
    return Request(at_ms, f"{of.client}-asks", "fetch", of.request_id, scene.door(), deadline_ms=wait_ms)
