"""Every message of the contract: what is serialised is parsed again, the unknown is kept, damage never crashes."""

import functools
from typing import Any

import pytest
from google.protobuf import descriptor_pool, duration_pb2, message_factory, struct_pb2, timestamp_pb2, unknown_fields
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from edgescale.v1 import (
    dead_letter_pb2,
    envelope_pb2,
    file_pb2,
    heartbeat_pb2,
    ingestion_service_pb2,
    task_pb2,
    text_pb2,
)

MODULES = (dead_letter_pb2, envelope_pb2, file_pb2, heartbeat_pb2, ingestion_service_pb2, task_pb2, text_pb2)
FILES = [module.DESCRIPTOR for module in MODULES]
# No message has so high a number; a later version may.
UNKNOWN_NUMBER = 20_000
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}
WELL_KNOWN: dict[str, st.SearchStrategy[Message]] = {
    "google.protobuf.Timestamp": st.builds(
        timestamp_pb2.Timestamp, seconds=st.integers(0, 2**33), nanos=st.integers(0, 10**9 - 1)
    ),
    "google.protobuf.Duration": st.builds(
        duration_pb2.Duration, seconds=st.integers(0, 2**33), nanos=st.integers(0, 10**9 - 1)
    ),
    "google.protobuf.Value": st.one_of(
        st.builds(struct_pb2.Value, number_value=st.floats(allow_nan=False)),
        st.builds(struct_pb2.Value, string_value=st.text(max_size=20)),
        st.builds(struct_pb2.Value, bool_value=st.booleans()),
        st.just(struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)),
        st.just(struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(bool_value=True)]))),
    ),
}


def all_messages() -> list[Descriptor]:
    """Every message declared in the contract, map entries excepted."""
    return [message for file in FILES for message in file.message_types_by_name.values()]


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        # Proto3 enums are open: a later version's value must pass.
        return st.integers(0, 2**31 - 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=50)
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.text(max_size=50)
    return SCALARS[field.cpp_type]


@functools.cache
def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Any message of this type, with any of its fields set."""
    if descriptor.full_name in WELL_KNOWN:
        return WELL_KNOWN[descriptor.full_name]
    fields = {field.name: values(field) for field in descriptor.fields}
    kind = message_factory.GetMessageClass(descriptor)

    def build(chosen: dict[str, Any]) -> Message:
        return kind(**chosen)

    return st.fixed_dictionaries({}, optional=fields).map(one_of_each_oneof(descriptor)).map(build)


def one_of_each_oneof(descriptor: Descriptor) -> Any:
    def keep(chosen: dict[str, Any]) -> dict[str, Any]:
        for oneof in descriptor.oneofs:
            for surplus in [field.name for field in oneof.fields if field.name in chosen][1:]:
                del chosen[surplus]
        return chosen

    return keep


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = kind.fields_by_name["key"], kind.fields_by_name["value"]
        return st.dictionaries(scalars(key), scalars(value), max_size=4)
    single = scalars(field) if kind is None else messages(kind)
    return st.lists(single, max_size=3) if field.is_repeated else single


any_message = pytest.mark.parametrize("descriptor", all_messages(), ids=lambda descriptor: descriptor.name)


def test_the_whole_contract_is_covered() -> None:
    pool = descriptor_pool.Default()
    declared = {message.full_name for message in all_messages()}
    service = pool.FindServiceByName("edgescale.v1.IngestionService")
    for method in service.methods:
        assert {method.input_type.full_name, method.output_type.full_name} <= declared
    assert len(declared) >= 30


@any_message
@settings(max_examples=25)
@given(st.data())
def test_a_message_survives_the_wire(descriptor: Descriptor, data: st.DataObject) -> None:
    message = data.draw(messages(descriptor))
    encoded = message.SerializeToString(deterministic=True)
    parsed = type(message).FromString(encoded)
    assert parsed == message
    assert parsed.SerializeToString(deterministic=True) == encoded


@any_message
@settings(max_examples=15)
@given(st.data())
def test_fields_of_a_later_version_are_kept(descriptor: Descriptor, data: st.DataObject) -> None:
    message = data.draw(messages(descriptor))
    words = data.draw(st.binary(max_size=50))
    tag = (UNKNOWN_NUMBER << 3) | 2
    unknown = _varint(tag) + _varint(len(words)) + words
    parsed = type(message).FromString(message.SerializeToString(deterministic=True) + unknown)
    kept = unknown_fields.UnknownFieldSet(parsed)
    assert [(kept[index].field_number, kept[index].data) for index in range(len(kept))] == [(UNKNOWN_NUMBER, words)]
    assert parsed.SerializeToString(deterministic=True).endswith(unknown)


def _varint(number: int) -> bytes:
    """Source: Protocol Buffers, "Encoding": seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


@any_message
@settings(max_examples=25)
@given(st.data())
def test_damaged_bytes_parse_or_raise_one_error(descriptor: Descriptor, data: st.DataObject) -> None:
    message = data.draw(messages(descriptor))
    encoded = bytearray(message.SerializeToString())
    if encoded and data.draw(st.booleans()):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    try:
        parsed = type(message).FromString(bytes(encoded[:cut]))
    except DecodeError:
        return
    assert isinstance(parsed, type(message))
