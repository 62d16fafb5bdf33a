"""Arguments of commands: numbers, timeouts, stream ids, patterns, and what is said of wrong ones."""

import functools
import math
import re

from edgescale.harness.simulation.redis.replies import ReplyError

NOT_AN_INTEGER = b"ERR value is not an integer or out of range"
SYNTAX = b"ERR syntax error"
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
# A stream id is one number here, milliseconds above, sequence below: compared, sorted and counted up at one go.
SEQUENCE_BITS = 64
SEQUENCE_MAX = (1 << SEQUENCE_BITS) - 1
ID_MAX = (1 << 2 * SEQUENCE_BITS) - 1
_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
# Wider than the above, as the server's parser is: leading blanks, a plus, leading zeros.
_UNSIGNED = re.compile(rb"[ \t\n\v\f\r]*\+?[0-9]+")
# So few that neither half can leave 64 bits.
_USUAL_ID_BYTES_MAX = 20
_BAD_ID = b"ERR Invalid stream ID specified as stream command argument"


# The numbers and ids of a conversation are few and come again and again.
_remembered = functools.lru_cache(maxsize=4096)


@_remembered
def integer(raw: bytes, problem: bytes = NOT_AN_INTEGER) -> int:
    """A signed 64-bit number in its one plain spelling.

    Raises:
        ReplyError: it is none; `problem` is the reply.
    """
    if _INTEGER.fullmatch(raw):
        value = int(raw)
        if INT64_MIN <= value <= INT64_MAX:
            return value
    raise ReplyError(problem)


def is_integer(raw: bytes) -> bool:
    """Whether `integer` takes it."""
    return _INTEGER.fullmatch(raw) is not None and INT64_MIN <= int(raw) <= INT64_MAX


def real(raw: bytes, problem: bytes = b"ERR value is not a valid float") -> float:
    """A double; infinities too.

    Raises:
        ReplyError: it is none; `problem` is the reply.
    """
    try:
        value = float(raw)
    except ValueError:
        raise ReplyError(problem) from None
    if math.isnan(value) or b"_" in raw or raw != raw.strip():
        raise ReplyError(problem)
    return value


def timeout_ms(raw: bytes) -> int:
    """How long to block; 0 for ever.

    Raises:
        ReplyError: no number, or below zero.
    """
    value = integer(raw, b"ERR timeout is not an integer or out of range")
    if value < 0:
        raise ReplyError(b"ERR timeout is negative")
    return value


@_remembered
def id_text(stream_id: int) -> bytes:
    """A stream id as clients see it."""
    return b"%d-%d" % (stream_id >> SEQUENCE_BITS, stream_id & SEQUENCE_MAX)


@_remembered
def _usual_id(raw: bytes) -> int | None:
    """A stream id as `id_text` gives it; None for what needs a closer look."""
    milliseconds, _, sequence = raw.partition(b"-")
    if milliseconds.isdigit() and sequence.isdigit() and len(raw) <= _USUAL_ID_BYTES_MAX:
        return int(milliseconds) << SEQUENCE_BITS | int(sequence)
    return None


def unsigned(raw: bytes, problem: bytes = _BAD_ID) -> int:
    """An unsigned 64-bit number, spelled as the C library takes it.

    Raises:
        ReplyError: it is none; `problem` is the reply.
    """
    if _UNSIGNED.fullmatch(raw):
        value = int(raw)
        if value <= SEQUENCE_MAX:
            return value
    raise ReplyError(problem)


def stream_id(raw: bytes, missing_sequence: int = 0) -> int:
    """A stream id; one without sequence gets `missing_sequence`.

    Raises:
        ReplyError: it is none; `-` and `+` are none here.
    """
    usual = _usual_id(raw)
    if usual is not None:
        return usual
    milliseconds, dash, sequence = raw.partition(b"-")
    low = unsigned(sequence) if dash else missing_sequence
    return unsigned(milliseconds) << SEQUENCE_BITS | low


def any_id(raw: bytes, missing_sequence: int = 0) -> int:
    """A stream id, or `-` and `+` for the lowest and the highest there is.

    Raises:
        ReplyError: it is none.
    """
    if raw == b"-":
        return 0
    if raw == b"+":
        return ID_MAX
    return stream_id(raw, missing_sequence)


def range_start(raw: bytes) -> int:
    """The first id of an interval; `(` in front leaves it out.

    Raises:
        ReplyError: it is none, or nothing comes after it.
    """
    usual = _usual_id(raw)
    if usual is not None:
        return usual
    if len(raw) > 1 and raw.startswith(b"("):
        value = stream_id(raw[1:])
        if value == ID_MAX:
            raise ReplyError(b"ERR invalid start ID for the interval")
        return value + 1
    return any_id(raw)


def range_end(raw: bytes) -> int:
    """The last id of an interval; `(` in front leaves it out.

    Raises:
        ReplyError: it is none, or nothing comes before it.
    """
    usual = _usual_id(raw)
    if usual is not None:
        return usual
    if len(raw) > 1 and raw.startswith(b"("):
        value = stream_id(raw[1:], SEQUENCE_MAX)
        if value == 0:
            raise ReplyError(b"ERR invalid end ID for the interval")
        return value - 1
    return any_id(raw, SEQUENCE_MAX)


@functools.lru_cache(maxsize=256)
def glob(pattern: bytes) -> re.Pattern[bytes]:
    r"""A compiled glob: `*`, `?`, `[a-z]`, `[^a]` and `\` before a character that stands for itself. Source: KEYS."""
    parts = []
    at = 0
    while at < len(pattern):
        part, at = _glob_part(pattern, at)
        parts.append(part)
    return re.compile(b"".join(parts), re.DOTALL)


def _glob_part(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The regular expression for what begins at `at`, and where the next part begins."""
    sign = pattern[at : at + 1]
    if sign == b"*":
        return b".*", at + 1
    if sign == b"?":
        return b".", at + 1
    if sign == b"[" and (end := pattern.find(b"]", at + 1)) > 0:
        inside = pattern[at + 1 : end]
        negated = inside.startswith(b"^")
        # Only ranges keep a meaning within brackets.
        members = re.sub(rb"([\\\[\]^])", rb"\\\1", inside[1:] if negated else inside)
        return b"[" + b"^" * negated + members + b"]", end + 1
    if sign == b"\\" and at + 1 < len(pattern):
        return re.escape(pattern[at + 1 : at + 2]), at + 2
    return re.escape(sign), at + 1
