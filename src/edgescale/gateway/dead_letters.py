"""Dead letters: GET, POST and DELETE below /v1/dead-letters."""

import base64
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BaseModel

from edgescale.config import Settings
from edgescale.errors import Conflict, EdgeScaleError, InvalidInput, LaneFull, NotFound
from edgescale.gateway.answers import OK, json_response
from edgescale.gateway.bodies import read_json
from edgescale.gateway.dead_letter_models import (
    DeadLetterPage,
    DeadLetterQuery,
    ListQuery,
    Purged,
    PurgeQuery,
    ReplayAnswer,
    ReplayedDocument,
    ReplayRequest,
    WholeDeadLetterDocument,
)
from edgescale.gateway.documents import document
from edgescale.gateway.openapi import json_body, responses
from edgescale.gateway.upstream import Ingestion, answer_timeout, answered
from edgescale.v1 import dead_letter_pb2

ONLY_IN_WHOLE = ("history", "fields", "fields_cut")
# A thousand ids, each as long as it may be, every character an escape.
BODY_BYTES_MAX = 4 * 1024 * 1024
PATH = "/v1/dead-letters"
LetterName = Annotated[str, Path(max_length=512, description="Of the letter, or the request id of its task.")]


class DeadLetterRoutes:
    """Lets operators see, replay and purge what could not be done."""

    def __init__(self, settings: Settings, ingestion: Ingestion) -> None:
        self._timeout_s = answer_timeout(settings)
        # Replaying many takes its time, of which ingestion is told, and answers with as many as fit.
        self._long_s = answer_timeout(settings, settings.wait_default_ms)
        self._ingestion = ingestion

    def install(self, app: FastAPI) -> None:
        """Add the routes, with their documentation."""
        refusals = (422, 429, 503)
        body = {"openapi_extra": json_body(ReplayRequest)}
        self._add(app, "GET", "", self.page, "List dead letters", DeadLetterPage, *refusals)
        self._add(app, "GET", "/{letter_id}", self.show, "Show a dead letter", WholeDeadLetterDocument, 404, *refusals)
        self._add(app, "POST", "/replay", self.replay, "Replay dead letters", ReplayAnswer, 413, 415, *refusals, **body)
        self._add(
            app, "POST", "/{letter_id}/replay", self.replay_one, "Replay one", ReplayedDocument, 404, 409, *refusals
        )
        self._add(app, "DELETE", "", self.purge, "Purge dead letters", Purged, *refusals)
        self._add(app, "DELETE", "/{letter_id}", self.purge_one, "Purge a dead letter", Purged, 404, *refusals)

    @staticmethod
    def _add(
        app: FastAPI,
        method: str,
        path: str,
        route: Callable[..., Any],
        summary: str,
        model: type[BaseModel],
        *problems: int,
        **more: Any,
    ) -> None:
        documented = responses(model, (OK,), *problems)
        app.add_api_route(
            PATH + path, route, methods=[method], tags=["dead letters"], summary=summary, responses=documented, **more
        )

    async def page(self, query: Annotated[ListQuery, Query()]) -> Response:
        """Dead letters, newest first."""
        message = dead_letter_pb2.ListDeadLettersRequest(
            filter=_filter(query), page_size=query.limit, page_token=query.page_token
        )
        page = await answered(self._ingestion.unary.ListDeadLetters(message, timeout=self._timeout_s))
        letters = [_without(document(letter), *ONLY_IN_WHOLE) for letter in page.dead_letters]
        return json_response({"dead_letters": letters, "next_page_token": page.next_page_token or None})

    async def show(self, letter_id: LetterName) -> Response:
        """One dead letter, with its attempts and the bytes of its entry."""
        message = dead_letter_pb2.GetDeadLetterRequest(id=letter_id)
        found = await answered(self._ingestion.unary.GetDeadLetter(message, timeout=self._timeout_s))
        shown = document(found.dead_letter)
        shown["fields"] = {name: base64.b64encode(value).decode() for name, value in shown["fields"].items()}
        for attempt in shown["history"]:
            attempt["worker"] = attempt["worker"] or None
        return json_response(shown)

    async def replay(self, request: Request) -> Response:
        """Puts dead letters back into their lanes, as many as fit into the time, and says what became of each."""
        body = await read_json(request, ReplayRequest, BODY_BYTES_MAX)
        message = dead_letter_pb2.ReplayDeadLettersRequest(
            ids=body.ids,
            filter=_filter(body),
            all=body.all,
            limit=body.limit,
            per_second=body.per_second,
            page_token=body.page_token,
        )
        answer = await answered(self._ingestion.unary.ReplayDeadLetters(message, timeout=self._long_s))
        letters = [document(letter) for letter in answer.letters]
        return json_response({"letters": letters, "next_page_token": answer.next_page_token or None})

    async def replay_one(self, letter_id: LetterName) -> Response:
        """Puts a dead letter back into its lane; its task can be asked for again under its request id."""
        message = dead_letter_pb2.ReplayDeadLettersRequest(ids=[letter_id])
        answer = await answered(self._ingestion.unary.ReplayDeadLetters(message, timeout=self._timeout_s))
        [letter] = answer.letters
        if letter.outcome != dead_letter_pb2.REPLAY_OUTCOME_REPLAYED:
            raise _refusal(letter)
        return json_response(document(letter))

    async def purge(self, query: Annotated[PurgeQuery, Query()]) -> Response:
        """Removes dead letters for good: those that match, or, in so many words, all."""
        message = dead_letter_pb2.PurgeDeadLettersRequest(
            filter=_filter(query), all=query.all, page_token=query.page_token
        )
        answer = await answered(self._ingestion.unary.PurgeDeadLetters(message, timeout=self._long_s))
        return json_response({"purged": answer.purged, "next_page_token": answer.next_page_token or None})

    async def purge_one(self, letter_id: LetterName) -> Response:
        """Removes a dead letter for good."""
        message = dead_letter_pb2.PurgeDeadLettersRequest(ids=[letter_id])
        answer = await answered(self._ingestion.unary.PurgeDeadLetters(message, timeout=self._timeout_s))
        if not answer.purged:
            raise NotFound(f"no dead letter {letter_id!r}: it was replayed or purged, or never was")
        return json_response({"purged": answer.purged, "next_page_token": None})


def _filter(query: DeadLetterQuery | ReplayRequest) -> dead_letter_pb2.DeadLetterFilter:
    return dead_letter_pb2.DeadLetterFilter(
        lane=query.lane, kind=query.kind, reason=query.reason, request_id=query.request_id
    )


def _without(shown: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in names}


def _refusal(letter: dead_letter_pb2.ReplayedLetter) -> EdgeScaleError:
    match letter.outcome:
        case dead_letter_pb2.REPLAY_OUTCOME_MISSING:
            return NotFound(letter.message)
        case dead_letter_pb2.REPLAY_OUTCOME_FULL:
            return LaneFull(letter.lane, cap=letter.cap)
        case dead_letter_pb2.REPLAY_OUTCOME_EMPTY:
            return InvalidInput("letter_id", letter.message)
        case _:
            return Conflict(letter.message)
