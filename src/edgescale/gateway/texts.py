"""POST /v1/text-analyses."""

from fastapi import FastAPI, Request, Response

from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.envelope import ordered_id
from edgescale.errors import EdgeScaleError, NotFound, Overloaded, TooLarge, Unavailable, WaitExpired
from edgescale.gateway.answers import ACCEPTED, OK, get_task, task_answer
from edgescale.gateway.bodies import read_json
from edgescale.gateway.headers import Preferences, idempotency_key, trace_metadata
from edgescale.gateway.models import TaskDocument, TextAnalysisRequest
from edgescale.gateway.openapi import TASK_HEADERS, json_body, responses
from edgescale.gateway.problems import note_ids
from edgescale.gateway.schedules import schedule_of
from edgescale.gateway.upstream import Ingestion, answer_timeout
from edgescale.gateway.waits import watched
from edgescale.v1.ingestion_service_pb2 import AnalyzeTextRequest
from edgescale.v1.task_pb2 import Task
from edgescale.v1.text_pb2 import TextInput

# JSON may spend six bytes on one of the text's: an escape such as \u0001.
ESCAPED_BYTES = 6
MEMBERS_BYTES = 4096


class TextRoutes:
    """Takes texts in and answers with their analysis."""

    def __init__(self, settings: Settings, ingestion: Ingestion, chance: Chance) -> None:
        self._settings = settings
        self._body_bytes_max = settings.text_bytes_max * ESCAPED_BYTES + MEMBERS_BYTES
        self._ingestion = ingestion
        self._chance = chance

    def install(self, app: FastAPI) -> None:
        """Add the route, with its documentation."""
        app.add_api_route(
            "/v1/text-analyses",
            self.analyze,
            methods=["POST"],
            tags=["texts"],
            summary="Analyse a text",
            responses=responses(TaskDocument, (OK, ACCEPTED), 409, 413, 415, 422, 429, 503, 504),
            openapi_extra=json_body(TextAnalysisRequest) | TASK_HEADERS,
        )

    async def analyze(self, request: Request) -> Response:
        """Answered with the result; `Prefer` bounds the wait or waives it."""
        body = await read_json(request, TextAnalysisRequest, self._body_bytes_max)
        if len(body.text.encode()) > self._settings.text_bytes_max:
            raise TooLarge("text", f"is over the limit of {self._settings.text_bytes_max} bytes of UTF-8")
        prefer = Preferences.of(request.headers, self._settings)
        # A caller that waits is owed the id when the time is up, even where ingestion has not answered at all.
        request_id = idempotency_key(request.headers) or ordered_id(body.ordering_key, self._chance.new_id())
        note_ids(request, request_id=request_id)
        try:
            task = await self._submit(request, body, request_id, prefer.wait_ms)
        except (WaitExpired, Unavailable) as late:
            if not prefer.respond_async or not prefer.wait_ms:
                raise
            task = await self._accepted(request, request_id, late)
        return task_answer(request, task, prefer)

    async def _accepted(self, request: Request, request_id: str, late: EdgeScaleError) -> Task:
        """The task as it stands; where that is not to be had, all that is known is that the answer is late."""
        try:
            return await get_task(self._ingestion, self._settings, request, request_id, wait_ms=0)
        except (NotFound, Overloaded, Unavailable):
            raise late from None

    async def _submit(self, request: Request, body: TextAnalysisRequest, request_id: str, wait_ms: int) -> Task:
        message = AnalyzeTextRequest(
            input=TextInput(text=body.text, top_terms=body.top_terms),
            request_id=request_id,
            respond_async=not wait_ms,
            schedule=schedule_of(body.not_before, body.expire_time),
            ordering_key=body.ordering_key,
        )
        timeout_s = wait_ms / 1000 or answer_timeout(self._settings)
        call = self._ingestion.unary.AnalyzeText(message, timeout=timeout_s, metadata=trace_metadata(request.headers))
        return (await watched(call, request.receive)).task
