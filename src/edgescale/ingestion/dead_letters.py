"""The calls on dead letters, as a part of the ingestion service."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from grpc.aio import ServicerContext

from edgescale.broker.dead_letters import DeadLetters
from edgescale.broker.letter_reader import PAGE_SIZE
from edgescale.broker.letters import Attempt, Letter, LetterFilter, Replay
from edgescale.errors import InvalidInput
from edgescale.ingestion.admission import Admission
from edgescale.ingestion.patience import within
from edgescale.v1 import dead_letter_pb2, ingestion_service_pb2_grpc

T = TypeVar("T")
Context = ServicerContext[Any, Any]
MOST = 1_000
NAME_CHARS_MAX = 512
# Clients take messages of 4 MiB.
FIELDS_BYTES_MAX = 3 * 1024 * 1024
# Of the caller's time: what takes long is to answer with what was done, and not to run into the caller's deadline.
WORK_SHARE, ANSWER_SHARE = 0.6, 0.9
OUTCOMES = {
    "replayed": dead_letter_pb2.REPLAY_OUTCOME_REPLAYED,
    "missing": dead_letter_pb2.REPLAY_OUTCOME_MISSING,
    "conflict": dead_letter_pb2.REPLAY_OUTCOME_CONFLICT,
    "full": dead_letter_pb2.REPLAY_OUTCOME_FULL,
    "empty": dead_letter_pb2.REPLAY_OUTCOME_EMPTY,
}


class DeadLetterCalls(ingestion_service_pb2_grpc.IngestionServiceServicer, ABC):
    """The calls on dead letters.

    Args:
        letters: does the work.

    Attributes:
        requests: places for them.
    """

    requests: Admission

    def __init__(self, letters: DeadLetters) -> None:
        self._letters = letters

    @abstractmethod
    async def _guard(self, context: Context, admission: Admission, call: Awaitable[T]) -> T:
        """The call's answer, its errors made statuses."""

    async def _in_time(self, context: Context, call: Callable[[], Awaitable[T]]) -> T:
        async def answer() -> T:
            return await within(_share_s(context, ANSWER_SHARE), call())

        return await self._guard(context, self.requests, answer())

    async def ListDeadLetters(  # noqa: N802 - named by the contract
        self, request: dead_letter_pb2.ListDeadLettersRequest, context: Context
    ) -> dead_letter_pb2.ListDeadLettersResponse:
        """The dead letters, newest first."""
        return await self._in_time(context, lambda: self._list(request))

    async def _list(self, request: dead_letter_pb2.ListDeadLettersRequest) -> dead_letter_pb2.ListDeadLettersResponse:
        size = _at_most("page_size", request.page_size) or PAGE_SIZE
        page = await self._letters.page(_filter(request.filter), size=size, token=request.page_token)
        letters = [_letter(letter) for letter in page.letters]
        return dead_letter_pb2.ListDeadLettersResponse(dead_letters=letters, next_page_token=page.next_page_token)

    async def GetDeadLetter(  # noqa: N802 - named by the contract
        self, request: dead_letter_pb2.GetDeadLetterRequest, context: Context
    ) -> dead_letter_pb2.GetDeadLetterResponse:
        """One dead letter with its history and its bytes."""
        return await self._in_time(context, lambda: self._get(request))

    async def _get(self, request: dead_letter_pb2.GetDeadLetterRequest) -> dead_letter_pb2.GetDeadLetterResponse:
        letter = await self._letters.show(_name("id", request.id))
        return dead_letter_pb2.GetDeadLetterResponse(dead_letter=_whole_letter(letter))

    async def ReplayDeadLetters(  # noqa: N802 - named by the contract
        self, request: dead_letter_pb2.ReplayDeadLettersRequest, context: Context
    ) -> dead_letter_pb2.ReplayDeadLettersResponse:
        """Puts dead letters back into their lanes."""
        return await self._in_time(context, lambda: self._replay(request, _until(context)))

    async def _replay(
        self, request: dead_letter_pb2.ReplayDeadLettersRequest, until: float | None
    ) -> dead_letter_pb2.ReplayDeadLettersResponse:
        names = _meant(request)
        limit = _at_most("limit", request.limit) or PAGE_SIZE
        pace, token = request.per_second, request.page_token
        if names:
            replays, token = await self._letters.replay(names, per_second=pace, until=until), ""
        else:
            progress = await self._letters.replay_all(
                _filter(request.filter), most=limit, token=token, per_second=pace, until=until
            )
            replays, token = progress.replays, progress.next_page_token
        letters = [_replayed(replay) for replay in replays]
        return dead_letter_pb2.ReplayDeadLettersResponse(letters=letters, next_page_token=token)

    async def PurgeDeadLetters(  # noqa: N802 - named by the contract
        self, request: dead_letter_pb2.PurgeDeadLettersRequest, context: Context
    ) -> dead_letter_pb2.PurgeDeadLettersResponse:
        """Removes dead letters for good."""
        return await self._in_time(context, lambda: self._purge(request, _until(context)))

    async def _purge(
        self, request: dead_letter_pb2.PurgeDeadLettersRequest, until: float | None
    ) -> dead_letter_pb2.PurgeDeadLettersResponse:
        names, token = _meant(request), ""
        if names:
            purged = await self._letters.purge(names)
        else:
            progress = await self._letters.purge_all(_filter(request.filter), token=request.page_token, until=until)
            purged, token = progress.purged, progress.next_page_token
        return dead_letter_pb2.PurgeDeadLettersResponse(purged=purged, next_page_token=token)


def _share_s(context: Context, share: float) -> float | None:
    """A share of the time that the caller still listens for; None when it set no deadline."""
    remaining_s: float | None = context.time_remaining()
    return None if remaining_s is None else max(remaining_s, 0) * share


def _until(context: Context) -> float | None:
    share_s = _share_s(context, WORK_SHARE)
    return None if share_s is None else asyncio.get_running_loop().time() + share_s


def _meant(request: dead_letter_pb2.ReplayDeadLettersRequest | dead_letter_pb2.PurgeDeadLettersRequest) -> list[str]:
    """The letters that are named; empty where a filter, or all, is meant.

    Raises:
        InvalidInput: it is not clear which letters are meant, or there are too many.
    """
    given = {"ids": bool(request.ids), "filter": bool(_filter(request.filter)), "all": request.all}
    ways = [way for way, is_given in given.items() if is_given]
    if not ways:
        raise InvalidInput("ids", "say which letters are meant: exactly one of ids, filter and all must be given")
    if len(ways) > 1:
        raise InvalidInput(ways[1], f"must not be given beside {ways[0]}: exactly one of ids, filter and all")
    if len(request.ids) > MOST:
        raise InvalidInput("ids", f"must be at most {MOST}, not {len(request.ids)}")
    return [_name(f"ids[{place}]", name) for place, name in enumerate(request.ids)]


def _name(field: str, name: str) -> str:
    if not 0 < len(name) <= NAME_CHARS_MAX:
        raise InvalidInput(
            field, f"must be the id of a dead letter or of its task, of 1 to {NAME_CHARS_MAX} characters"
        )
    return name


def _at_most(field: str, number: int) -> int:
    if number > MOST:
        raise InvalidInput(field, f"must be at most {MOST}, not {number}")
    return number


def _filter(wanted: dead_letter_pb2.DeadLetterFilter) -> LetterFilter:
    return LetterFilter(wanted.lane, wanted.kind, wanted.reason, wanted.request_id)


def _letter(letter: Letter) -> dead_letter_pb2.DeadLetter:
    message = dead_letter_pb2.DeadLetter(
        id=str(letter.id),
        request_id=letter.request_id,
        kind=letter.kind,
        lane=letter.lane,
        attempts=letter.attempts,
        worker=letter.worker,
        replays=letter.replays,
        file_id=letter.file_id,
        size_bytes=letter.size_bytes,
    )
    message.error.reason, message.error.message = letter.reason, letter.message
    message.bury_time.FromMilliseconds(letter.buried_ms)
    if letter.accepted_ms:
        message.accept_time.FromMilliseconds(letter.accepted_ms)
    return message


def _whole_letter(letter: Letter) -> dead_letter_pb2.DeadLetter:
    message = _letter(letter)
    message.history.extend(_attempt(attempt) for attempt in letter.history)
    left_bytes = FIELDS_BYTES_MAX
    for name, value in letter.fields.items():
        left_bytes -= len(name) + len(value)
        if left_bytes < 0:
            message.fields_cut = True
            break
        message.fields[name.decode(errors="replace")] = value
    return message


def _attempt(attempt: Attempt) -> dead_letter_pb2.Attempt:
    message = dead_letter_pb2.Attempt(
        number=attempt.number, replays=attempt.replays, worker=attempt.worker, reason=attempt.reason
    )
    if attempt.ended_ms:
        message.end_time.FromMilliseconds(attempt.ended_ms)
    return message


def _replayed(replay: Replay) -> dead_letter_pb2.ReplayedLetter:
    return dead_letter_pb2.ReplayedLetter(
        id=replay.id,
        request_id=replay.request_id,
        lane=replay.lane,
        outcome=OUTCOMES[replay.outcome],
        message=replay.sentence,
        cap=replay.cap or None,
    )
