"""What a request must look like. Each check names the field and what would be right."""

import math
import re
import unicodedata

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from edgescale.errors import InvalidInput, TooLarge
from edgescale.v1 import heartbeat_pb2, task_pb2, text_pb2

ORDERING_KEY = re.compile(r"[A-Za-z0-9._~-]{1,64}")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:~-]{1,128}")
# Version, trace id, parent id, flags; neither id is all zeros. Source: W3C Trace Context, 3.2.
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
AGENT_ID_CHARS_MAX = 128
BOOT_ID_CHARS_MAX = 128
STATUS_CHARS_MAX = 256
METRICS_MAX = 64
METRIC_NAME_CHARS_MAX = 64
# The registry counts in doubles, which are exact up to here.
SEQUENCE_MAX = 2**53 - 1
TOP_TERMS_MAX = 100
# 9999-12-31T23:59:59Z. Source: google/protobuf/timestamp.proto.
TIMESTAMP_SECONDS_MAX = 253_402_300_799
TIMESTAMP_SECONDS_MIN = -62_135_596_800
NANOS_MAX = 999_999_999
# 10,000 years. Source: google/protobuf/duration.proto.
DURATION_SECONDS_MAX = 315_576_000_000


def check_request_id(request_id: str, *, required: bool = False) -> None:
    """An id that was given, or none where none is required.

    Raises:
        InvalidInput: it holds other characters, or too many; or it is missing.
    """
    if required and not request_id:
        raise InvalidInput("request_id", "must not be empty")
    if request_id and not REQUEST_ID.fullmatch(request_id):
        alternative = "" if required else ", or absent"
        raise InvalidInput("request_id", f"must be 1 to 128 of A-Z a-z 0-9 . _ : ~ -{alternative}")


def check_ids(request_id: str, ordering_key: str) -> None:
    """A request id, and the ordering key that was given with it; either may be empty.

    Raises:
        InvalidInput: one of them holds other characters, or too many; or the id does not begin with the key.
    """
    # The key first: a gateway makes ids that begin with it, whatever it is.
    if ordering_key and not ORDERING_KEY.fullmatch(ordering_key):
        raise InvalidInput("ordering_key", "must be 1 to 64 of A-Z a-z 0-9 . _ ~ -, or absent")
    check_request_id(request_id)
    if ordering_key and request_id and not request_id.startswith(f"{ordering_key}:"):
        raise InvalidInput(
            "request_id",
            'must begin with the ordering key and a colon, such as "customer-5:letter-17", or be absent',
        )


def check_heartbeat(beat: heartbeat_pb2.Heartbeat) -> None:
    """A heartbeat.

    Raises:
        InvalidInput: a field is missing, too long, or holds what it must not.
    """
    _check_name("heartbeat.agent_id", beat.agent_id, AGENT_ID_CHARS_MAX, required=True)
    _check_name("heartbeat.boot_id", beat.boot_id, BOOT_ID_CHARS_MAX, required=False)
    _check_name("heartbeat.status", beat.status, STATUS_CHARS_MAX, required=False)
    if beat.sequence > SEQUENCE_MAX:
        raise InvalidInput("heartbeat.sequence", f"must be at most {SEQUENCE_MAX}")
    if beat.HasField("sent_time"):
        _check_time("heartbeat.sent_time", beat.sent_time)
    if len(beat.metrics) > METRICS_MAX:
        raise InvalidInput("heartbeat.metrics", f"must have at most {METRICS_MAX} entries, not {len(beat.metrics)}")
    for name, value in sorted(beat.metrics.items()):
        _check_name("heartbeat.metrics", name, METRIC_NAME_CHARS_MAX, required=True)
        if not math.isfinite(value):
            raise InvalidInput(f"heartbeat.metrics.{name}", "must be a finite number")


def check_text(text: text_pb2.TextInput, *, text_bytes_max: int) -> None:
    """A text to analyse.

    Raises:
        InvalidInput: it is empty, or asks for too many terms.
        TooLarge: it is longer than the limit.
    """
    if not text.text or text.text.isspace():
        raise InvalidInput("input.text", "must not be empty or white space only")
    text_bytes = len(text.text.encode())
    if text_bytes > text_bytes_max:
        raise TooLarge("input.text", f"must be at most {text_bytes_max} bytes of UTF-8, not {text_bytes}")
    if text.top_terms > TOP_TERMS_MAX:
        raise InvalidInput("input.top_terms", f"must be at most {TOP_TERMS_MAX}, not {text.top_terms}")


def check_schedule(schedule: task_pb2.Schedule) -> None:
    """When a task may be started.

    Raises:
        InvalidInput: a time is out of range, or the end is not after the beginning.
    """
    for name in ("not_before", "expire_time"):
        if schedule.HasField(name):
            _check_time(f"schedule.{name}", getattr(schedule, name))
    if schedule.HasField("not_before") and schedule.HasField("expire_time"):
        begins_ms, ends_ms = schedule.not_before.ToMilliseconds(), schedule.expire_time.ToMilliseconds()
        if ends_ms <= begins_ms:
            raise InvalidInput("schedule.expire_time", "must be after schedule.not_before")


def check_wait(wait: Duration) -> None:
    """A length of time that a caller is ready to wait; it may be longer than the server's limit.

    Raises:
        InvalidInput: it is negative, or no length of time at all.
    """
    if not (0 <= wait.seconds <= DURATION_SECONDS_MAX and 0 <= wait.nanos <= NANOS_MAX):
        raise InvalidInput("wait", "must be 0 or more seconds, and at most 10,000 years")


def _check_name(field: str, value: str, chars_max: int, *, required: bool) -> None:
    if required and not value:
        raise InvalidInput(field, "must not be empty")
    if len(value) > chars_max:
        raise InvalidInput(field, f"must be at most {chars_max} characters, not {len(value)}")
    for character in value:
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
            raise InvalidInput(field, f"must not hold control characters, such as U+{ord(character):04X}")


def _check_time(field: str, time: Timestamp) -> None:
    in_range = TIMESTAMP_SECONDS_MIN <= time.seconds <= TIMESTAMP_SECONDS_MAX and 0 <= time.nanos <= NANOS_MAX
    if not in_range:
        raise InvalidInput(field, "must be a time between the years 1 and 9999")
