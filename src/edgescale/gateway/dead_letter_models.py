"""What requests and answers about dead letters look like."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from edgescale.gateway.models import Incoming, TaskErrorDocument

MOST = 1_000


class DeadLetterQuery(BaseModel):
    """Which letters are meant. What is not known here is refused: a filter that is misspelt would mean too many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lane: str = Field("", description="Only letters of this lane.")
    kind: str = Field("", description="Only letters of this kind.")
    reason: str = Field("", description="Only letters whose last attempt failed with this reason.")
    request_id: str = Field("", description="Only letters of this task.")
    page_token: str = Field("", description="From the previous page; empty for the first.")


class ListQuery(DeadLetterQuery):
    """Which letters are to be listed."""

    limit: int = Field(100, ge=1, le=MOST, description="Letters on a page, at most.")


class PurgeQuery(DeadLetterQuery):
    """Which letters are to be removed; either a filter, or all."""

    all: bool = Field(False, description="All letters are meant; instead of a filter.")


class ReplayRequest(Incoming):
    """Which letters are to be replayed: exactly one of ids, a filter, and all."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lane": "text", "reason": "TIMEOUT", "per_second": 10}]})

    ids: list[Annotated[str, Field(min_length=1, max_length=512)]] = Field(
        default_factory=list, max_length=MOST, description="Of letters, or of their tasks."
    )
    lane: str = Field("", description="Only letters of this lane.")
    kind: str = Field("", description="Only letters of this kind.")
    reason: str = Field("", description="Only letters whose last attempt failed with this reason.")
    request_id: str = Field("", description="Only letters of this task.")
    all: bool = Field(False, description="All letters are meant.")
    limit: int = Field(100, ge=1, le=MOST, description="Letters in one answer, at most; not with ids.")
    per_second: int = Field(0, ge=0, le=2**32 - 1, description="A slower pace than the server's; 0 for the server's.")
    page_token: str = Field("", description="From the previous answer; not with ids.")


class AttemptDocument(BaseModel):
    """One attempt of a task."""

    number: int = Field(description="The delivery, from 1; counted anew after each replay.")
    replays: int = Field(description="How often the task had been replayed before.")
    worker: str | None = Field(description="Null where nothing is known of the attempt, as when its worker died.")
    ended_at: AwareDatetime | None = Field(None, description="Absent where nothing is known of the attempt.")
    reason: str = Field(description="Why it failed.", examples=["TIMEOUT"])


class DeadLetterDocument(BaseModel):
    """A dead letter."""

    id: str = Field(examples=["0-1767225600000-0"])
    request_id: str = Field(description="Of its task; entry-… where the entry named none.")
    kind: str = Field(description="Empty where the entry did not decode.")
    lane: str
    error: TaskErrorDocument
    attempts: int = Field(description="Deliveries to a worker, since the task was accepted or last replayed.")
    buried_at: AwareDatetime
    accepted_at: AwareDatetime | None = Field(None, description="Absent where it is not known.")
    worker: str = Field(description="Who buried it.")
    replays: int = Field(description="How often the task had been replayed before.")
    file_id: str = Field(description="Set for uploads.")
    size_bytes: int = Field(description="Of the entry's fields.")


class WholeDeadLetterDocument(DeadLetterDocument):
    """A dead letter with everything."""

    history: list[AttemptDocument]
    fields: dict[str, str] = Field(description="The entry's, as they stood in the stream; values in base64.")
    fields_cut: bool = Field(description="Some are left out, as all of them are too large for a message.")


class DeadLetterPage(BaseModel):
    """Dead letters, newest first."""

    dead_letters: list[DeadLetterDocument] = Field(description="May be few, or none, although there is a next page.")
    next_page_token: str | None = Field(description="For the next page; null on the last one.")


class ReplayedDocument(BaseModel):
    """What became of a letter that was to be replayed."""

    id: str
    request_id: str = Field(description="Empty where there is no letter.")
    lane: str
    outcome: Literal["unspecified", "replayed", "missing", "conflict", "full", "empty"]
    message: str = Field(description="One sentence, for people.")
    cap: int | None = Field(None, description="Of a lane that is full.")


class ReplayAnswer(BaseModel):
    """What became of letters that were to be replayed."""

    letters: list[ReplayedDocument] = Field(description="With ids, in their order, as far as the time sufficed.")
    next_page_token: str | None = Field(description="Where to go on; null when all were dealt with.")


class Purged(BaseModel):
    """How many letters were removed for good."""

    purged: int
    next_page_token: str | None = Field(description="Where to go on; null when all were dealt with.")
