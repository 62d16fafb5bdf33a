"""What is queued for each kind of request, and what makes two of them the same request."""

from edgescale.broker.model import Submission
from edgescale.envelope import Envelope, digest
from edgescale.v1 import file_pb2, heartbeat_pb2, task_pb2, text_pb2

# Each built-in kind has a lane of its own, of the same name.
HEARTBEAT, TEXT, FILE = "heartbeat", "text", "file"
# What a text with no number of terms asks for, by the contract.
TOP_TERMS_USUAL = 10


def of_heartbeat(beat: heartbeat_pb2.Heartbeat, *, request_id: str, traceparent: str) -> Submission:
    """A heartbeat. A sender that repeats it may have looked at its clock again; anything else makes it another one."""
    payload = beat.SerializeToString(deterministic=True)
    envelope = Envelope(request_id, HEARTBEAT, payload, agent_id=beat.agent_id, traceparent=traceparent)
    content = heartbeat_pb2.Heartbeat()
    content.CopyFrom(beat)
    content.ClearField("sent_time")
    return Submission(envelope, HEARTBEAT, digest(content.SerializeToString(deterministic=True)))


def of_text(
    text: text_pb2.TextInput, *, request_id: str, traceparent: str, schedule: task_pb2.Schedule, ordering_key: str = ""
) -> Submission:
    """A text to analyse. Whether the usual number of terms is asked for in so many words makes no difference."""
    meant = text_pb2.TextInput()
    meant.CopyFrom(text)
    meant.top_terms = text.top_terms or TOP_TERMS_USUAL
    payload = meant.SerializeToString(deterministic=True)
    begins_ms, ends_ms = _times(schedule)
    envelope = Envelope(
        request_id,
        TEXT,
        payload,
        traceparent=traceparent,
        not_before_ms=begins_ms,
        expires_ms=ends_ms,
        ordering_key=ordering_key,
    )
    return Submission(envelope, TEXT, digest(payload, *_order(ordering_key)))


def of_file(
    reference: file_pb2.FileReference,
    *,
    request_id: str,
    traceparent: str,
    schedule: task_pb2.Schedule,
    ordering_key: str = "",
) -> Submission:
    """A stored file. Each attempt to send it has a file id of its own; the content is what must be the same."""
    payload = reference.SerializeToString(deterministic=True)
    begins_ms, ends_ms = _times(schedule)
    envelope = Envelope(
        request_id,
        FILE,
        payload,
        file_id=reference.file_id,
        traceparent=traceparent,
        not_before_ms=begins_ms,
        expires_ms=ends_ms,
        ordering_key=ordering_key,
    )
    content = [reference.metadata.name, reference.metadata.content_type, reference.sha256]
    return Submission(envelope, FILE, digest(*(part.encode() for part in content), *_order(ordering_key)))


def _order(ordering_key: str) -> list[bytes]:
    """What an ordering key adds to the content: the same under another key, or under none, is another request."""
    return [ordering_key.encode()] if ordering_key else []


def _times(schedule: task_pb2.Schedule) -> tuple[int, int]:
    """For the envelope, where 0 stands for none. What lies before 1970 is past."""
    begins_ms = max(schedule.not_before.ToMilliseconds(), 0)
    ends_ms = max(schedule.expire_time.ToMilliseconds(), 1) if schedule.HasField("expire_time") else 0
    return begins_ms, ends_ms
