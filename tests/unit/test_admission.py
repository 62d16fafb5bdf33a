"""Admission: how many requests are under way, and who is refused."""

import asyncio

import pytest

from edgescale.errors import NotServing, TooManyRequests
from edgescale.ingestion.admission import Admission
from tests.parts import turns


def opened(most: int = 2) -> Admission:
    admission = Admission("requests", most)
    admission.open()
    return admission


def test_nothing_is_taken_before_the_process_is_ready() -> None:
    with pytest.raises(NotServing, match="this server is not ready yet"), Admission("requests", 1).place():
        raise AssertionError("unreachable")


def test_a_place_is_free_again_when_its_request_ends_however_it_ends() -> None:
    admission = opened(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), admission.place():
            raise ZeroDivisionError
        assert admission.under_way == 0
        with admission.place():
            assert admission.under_way == 1


def test_who_comes_when_all_places_are_taken_is_refused_and_takes_none() -> None:
    admission = opened(2)
    with admission.place(), admission.place():
        for _ in range(1_000):
            with pytest.raises(TooManyRequests, match="already has 2 requests under way"), admission.place():
                raise AssertionError("unreachable")
        assert admission.under_way == 2
    with admission.place(), admission.place():
        assert admission.under_way == 2


def test_a_closed_door_lets_those_inside_finish() -> None:
    admission = opened(2)
    with admission.place():
        admission.close()
        with pytest.raises(NotServing, match="this server is about to stop"), admission.place():
            raise AssertionError("unreachable")
        assert admission.under_way == 1
    assert admission.under_way == 0


async def test_the_end_of_the_last_request_is_noticed() -> None:
    admission = opened(2)
    await asyncio.wait_for(admission.idle(), 1)
    with admission.place():
        with admission.place():
            pass
        waiting = asyncio.create_task(admission.idle())
        await turns()
        assert not waiting.done()
    await asyncio.wait_for(waiting, 1)
