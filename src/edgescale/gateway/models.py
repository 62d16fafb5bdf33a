"""What requests and answers look like: checked where they come in, documented where they go out."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from edgescale.gateway.schedules import EXPIRE_TIME, NOT_BEFORE, ORDERING_KEY

SEQUENCE_MAX = 2**53 - 1
METRICS_MAX = 64


class Incoming(BaseModel):
    """A request body: types are taken as they are, unknown members are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HeartbeatRequest(Incoming):
    """One sign of life of an agent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "agent_id": "press-4",
                    "sequence": 17,
                    "boot_id": "2026-03-01T06:00Z",
                    "status": "ok",
                    "metrics": {"temperature_celsius": 61.5},
                }
            ]
        }
    )

    agent_id: str = Field(min_length=1, max_length=128, description="Names the agent; no control characters.")
    sequence: int = Field(ge=0, le=SEQUENCE_MAX, description="Counts up by one per beat within one boot.")
    boot_id: str = Field("", max_length=128, description="Names one run of the agent; a new one restarts the sequence.")
    sent_time: AwareDatetime | None = Field(None, description="The agent's own clock, RFC 3339 with an offset.")
    status: str = Field("", max_length=256, description="Free words of the agent on itself.")
    metrics: dict[Annotated[str, Field(min_length=1, max_length=64)], FiniteFloat] = Field(
        default_factory=dict, max_length=METRICS_MAX, description="Gauges of the agent by name."
    )


class TextAnalysisRequest(Incoming):
    """A text to analyse."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "All is well.", "top_terms": 5}]})

    text: str = Field(min_length=1, description="The text; its UTF-8 is limited by EDGESCALE_TEXT_BYTES_MAX.")
    top_terms: int = Field(10, ge=1, le=100, description="How many of the most frequent terms to return.")
    not_before: AwareDatetime | None = Field(None, description=NOT_BEFORE)
    expire_time: AwareDatetime | None = Field(None, description=EXPIRE_TIME)
    ordering_key: str = Field("", description=ORDERING_KEY)


class HeartbeatAccepted(BaseModel):
    """A heartbeat is in its stream."""

    request_id: str = Field(description="The Idempotency-Key, or an id that was made.", examples=["01J9Z3V7Q8"])
    repeated: bool = Field(description="Whether this request id was accepted before.")


class TermDocument(BaseModel):
    """A word and how often it occurs."""

    term: str
    count: int


class ReadabilityDocument(BaseModel):
    """How easy a text reads."""

    score: float = Field(description="100 is easy, 0 is hard; not clamped.")
    formula: str = Field(examples=["flesch-reading-ease"])


class LanguageDocument(BaseModel):
    """The language a text is most probably written in."""

    code: str = Field(description="ISO 639-1.", examples=["en"])
    confidence: float = Field(description="0 to 1.")


class SentimentDocument(BaseModel):
    """The mood of a text."""

    polarity: float = Field(description="-1 (negative) to 1 (positive).")
    subjectivity: float = Field(description="0 (factual) to 1 (personal).")


class TextAnalysisDocument(BaseModel):
    """What the analysis of a text found. Counts follow Unicode (UAX 29)."""

    characters: int
    words: int
    sentences: int
    lines: int
    unique_words: int
    top_terms: list[TermDocument]
    reading_time_seconds: float
    readability: ReadabilityDocument | None = Field(None, description="Absent for languages without a formula.")
    language: LanguageDocument | None = Field(None, description="Absent when the text has too little to judge by.")
    sentiment: SentimentDocument | None = Field(None, description="Absent for languages other than English.")


class TextCountsDocument(BaseModel):
    """Counts of a text file."""

    lines: int
    words: int


class ImageDimensionsDocument(BaseModel):
    """Size of an image in pixels."""

    width: int
    height: int


class FileReportDocument(BaseModel):
    """What was found in a stored file."""

    file_id: str
    display_name: str = Field(description="The sender's name, cleaned for display.")
    size_bytes: int
    sha256: str
    detected_type: str = Field(description="Media type found in the bytes.", examples=["image/png"])
    text: TextCountsDocument | None = Field(None, description="Set for text.")
    image: ImageDimensionsDocument | None = Field(None, description="Set for images whose header could be read.")


class HeartbeatReceiptDocument(BaseModel):
    """What the registry made of a heartbeat."""

    agent_id: str
    sequence: int
    missed_beats: int
    repeated: bool


class TaskErrorDocument(BaseModel):
    """Why a task did not succeed."""

    reason: str = Field(description="Stable, for programs.", examples=["HANDLER_FAILED"])
    message: str = Field(description="One sentence, for people.")


class TaskBurialDocument(BaseModel):
    """How a task had ended that was put back from the dead letters."""

    buried_at: AwareDatetime
    attempts: int
    error: TaskErrorDocument


class TaskDocument(BaseModel):
    """What is known of one accepted request."""

    request_id: str
    kind: str = Field(examples=["text"])
    lane: str = Field(examples=["text"])
    state: Literal["unspecified", "queued", "running", "succeeded", "failed", "dead_lettered", "expired", "cancelled"]
    attempts: int = Field(description="Deliveries to a worker so far.")
    accepted_at: AwareDatetime | None = None
    settled_at: AwareDatetime | None = Field(None, description="Set once the state is terminal.")
    file_id: str | None = Field(None, description="Set for uploads.")
    result: TextAnalysisDocument | FileReportDocument | HeartbeatReceiptDocument | Any = Field(
        None, description="Set when the task succeeded; the kind tells its shape."
    )
    error: TaskErrorDocument | None = Field(None, description="Set when it ended otherwise.")
    replays: int | None = Field(None, description="How often it was replayed from the dead letters, if ever.")
    burial: TaskBurialDocument | None = Field(None, description="Set after a replay, until it is settled again.")


class AgentDocument(BaseModel):
    """One line of the agent registry."""

    agent_id: str
    state: Literal["unspecified", "alive", "stale", "gone"]
    first_seen_at: AwareDatetime
    last_seen_at: AwareDatetime
    sequence: int = Field(description="The highest of the present boot.")
    boot_id: str
    beats: int = Field(description="Counted over all boots.")
    missed_beats: int = Field(description="Of the present boot, so far.")
    status: str
    metrics: dict[str, float]


class AgentPage(BaseModel):
    """Agents, last seen first."""

    agents: list[AgentDocument]
    next_page_token: str | None = Field(description="For the next page; null on the last one.")


class ConsumerDocument(BaseModel):
    """One worker process of a lane."""

    name: str
    running: int
    idle_seconds: float = Field(description="Since it last read or claimed.")


class LaneDocument(BaseModel):
    """One lane and the workers that serve it."""

    name: str
    backlog: int = Field(description="Queued and running.")
    running: int
    cap: int = Field(description="The backlog at which new tasks are refused.")
    oldest_age_seconds: float | None = Field(None, description="Of the oldest task that is not settled.")
    consumers: list[ConsumerDocument]


class LaneList(BaseModel):
    """All lanes."""

    lanes: list[LaneDocument]


class Health(BaseModel):
    """Whether this gateway is alive or ready."""

    status: Literal["alive", "ready"]


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["top_terms"])
    problem: str


class Problem(BaseModel):
    """An error (RFC 9457). Members beside these name facts, such as lane and cap, or retry_after_ms."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Stable, for programs.", examples=["urn:edgescale:error:lane-full"])
    title: str = Field(examples=["Lane full"])
    status: int = Field(examples=[429])
    detail: str = Field(description="One sentence, for people.")
    instance: str = Field(description="The path, or for a defect the name of its occurrence.")
    reason: str = Field(examples=["LANE_FULL"])
    errors: list[FieldProblem] | None = Field(None, description="Set when fields are wrong.")
    request_id: str | None = Field(None, description="Set once it is known; the task may have been accepted.")
