"""Messages as JSON documents: snake_case names, integers as numbers, times in RFC 3339, enums by their short names.

`google.protobuf.json_format` prints 64-bit integers as strings and leaves out zeros, so it serves here only for
`google.protobuf.Value`. Each message type is looked through once; after that a document costs one attribute per field.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from edgescale.v1 import task_pb2

Convert = Callable[[Any], Any]
Field = tuple[str, str, bool, Convert | None]

# Names follow REST habit where the proto's follow Google's.
NAMES = {
    "accept_time": "accepted_at",
    "settle_time": "settled_at",
    "first_seen_time": "first_seen_at",
    "last_seen_time": "last_seen_at",
    "bury_time": "buried_at",
    "end_time": "ended_at",
    "oldest_age": "oldest_age_seconds",
    "idle": "idle_seconds",
}


def document(message: Message) -> dict[str, Any]:
    """The message as a JSON object. Fields with presence (messages, optional ones) are left out when they are unset."""
    return {
        name: convert(getattr(message, field)) if convert else getattr(message, field)
        for field, name, has_presence, convert in _plan(message.DESCRIPTOR)
        if not has_presence or message.HasField(field)
    }


def _result(result: task_pb2.TaskResult) -> Any:
    # The task's kind tells which of them it is, so the document carries the value without its wrapper.
    which = result.WhichOneof("value")
    if which is None:
        return None
    value = getattr(result, which)
    return json_format.MessageToDict(value) if which == "json" else document(value)


SPECIAL: dict[str, Convert] = {
    "google.protobuf.Timestamp": lambda time: time.ToJsonString(),
    "google.protobuf.Duration": lambda duration: duration.ToNanoseconds() / 1e9,
    task_pb2.TaskResult.DESCRIPTOR.full_name: _result,
}


@cache
def _plan(descriptor: Descriptor) -> tuple[Field, ...]:
    return tuple(
        (field.name, NAMES.get(field.name, field.name), field.has_presence, _convert(field))
        for field in descriptor.fields
    )


def _convert(field: FieldDescriptor) -> Convert | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict
    one = _convert_one(field)
    if field.is_repeated:
        return (lambda values: [one(value) for value in values]) if one else list
    return one


def _convert_one(field: FieldDescriptor) -> Convert | None:
    if field.message_type is not None:
        special: Convert = SPECIAL.get(field.message_type.full_name, document)
        return special
    if field.enum_type is not None:
        names = short_names(field.enum_type)
        return lambda number: names.get(number, str(number))  # a newer ingestion may know more values
    return None


@cache
def short_names(enum: EnumDescriptor) -> dict[int, str]:
    """Its values without the enum's own name: TASK_STATE_DEAD_LETTERED is `dead_lettered`."""
    prefix = "".join(f"_{char}" if char.isupper() else char for char in enum.name).lstrip("_").upper() + "_"
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}


TASK_STATES = short_names(task_pb2.TaskState.DESCRIPTOR)
