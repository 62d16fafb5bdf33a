"""Who waits for a request id hears of its own task, and not of an earlier life of the id."""

import pytest

from edgescale.broker.model import State, Submission, TaskRecord
from edgescale.broker.waiting import OpenRequest, Wait
from edgescale.envelope import Envelope
from edgescale.errors import Conflict

ID = "r1"
MINE = Submission(Envelope(ID, "text", b"mine"), "text", "digest of mine")


def record(state: State, digest: str = "digest of another") -> TaskRecord:
    return TaskRecord(request_id=ID, state=state, digest=digest)


def opened(asked: list[str] | None = None) -> tuple[OpenRequest, Wait]:
    request, wait = OpenRequest(ID), Wait(ID, lambda: (asked if asked is not None else []).append(ID))
    request.waits.append(wait)
    return request, wait


async def test_a_record_of_other_content_is_a_conflict() -> None:
    request, wait = opened()
    wait.accepted(MINE)
    request.hear(record("queued"), known=request.accepted)

    with pytest.raises(Conflict):
        await wait.result(0)


@pytest.mark.parametrize("state", ["queued", "succeeded"])
async def test_one_that_was_asked_for_before_the_acceptance_is_read_anew(state: State) -> None:
    """Found by seed 9339: the lane was trimmed, and another request took over the id while a read was under way."""
    asked: list[str] = []
    request, wait = opened(asked)
    known = request.accepted
    wait.accepted(MINE)
    request.hear(record(state), known=known)
    assert (await wait.result(0), asked) == (None, [ID])

    request.hear(record("succeeded", MINE.digest), known=request.accepted)
    assert (await wait.result(0)) == record("succeeded", MINE.digest)


async def test_a_result_of_other_content_that_was_heard_before_the_acceptance_is_read_anew() -> None:
    asked: list[str] = []
    request, wait = opened(asked)
    request.hear(record("succeeded"), known=request.accepted)
    wait.accepted(MINE)
    assert (await wait.result(0), asked) == (None, [ID])

    request.hear(record("succeeded", MINE.digest), known=request.accepted)
    assert (await wait.result(0)) == record("succeeded", MINE.digest)


async def test_an_own_result_that_was_heard_before_the_acceptance_was_known_is_kept() -> None:
    request, wait = opened()
    request.hear(record("succeeded", MINE.digest), known=request.accepted)
    wait.accepted(MINE)

    assert (await wait.result(0)) == record("succeeded", MINE.digest)


async def test_who_only_knows_the_id_hears_whatever_there_is() -> None:
    request, wait = opened()
    request.hear(record("succeeded"), known=())

    assert (await wait.result(0)) == record("succeeded")
