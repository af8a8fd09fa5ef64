"""Checks a decoded request against the rules that stand in the protos, and what rules cannot say: the depth
of free-form parts. Answers every violation, not the first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from crown.errors import Violation

DEPTH_MOST = 16

# What the patterns of the protos ask for, in words.
_WORDS = {
    r"^[A-Za-z0-9][A-Za-z0-9._~@|:+=-]{0,127}$": (
        "must be 1 to 128 letters, digits or ._~@|:+=- and begin with a letter or digit"
    ),
    r"^[\x21-\x7e]{1,255}$": "must be 1 to 255 printable ASCII characters without spaces",
    r"^[\x21-\x7e]+$": "must be printable ASCII characters without spaces",
    r"^\+[1-9][0-9]{6,14}$": "must be a phone number in E.164 form, such as +14155550123",
    r"^[a-z][a-z0-9_]{0,63}$": "must be lower-case letters, digits or _ and begin with a letter",
    r"^[a-z][a-z0-9_.:-]{0,63}$": "must be lower-case letters, digits or _.:- and begin with a letter",
    r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$": "must be a language tag, such as en or pt-BR",
    r"^[a-z0-9]{1,64}$": "must be 1 to 64 lower-case letters or digits",
}


def violations(message: Message) -> list[Violation]:
    """Every broken rule of `message`, in the order of its fields; empty where it is good."""
    found = [_violation(raw, message.DESCRIPTOR) for raw in protovalidate.collect_violations(message)]
    for path in _struct_paths(message.DESCRIPTOR):
        struct = _at(message, path)
        if struct is not None and depth(struct) > DEPTH_MOST:
            found.append(Violation(".".join(path), f"must be at most {DEPTH_MOST} levels deep", "depth"))
    return found


def _violation(raw: protovalidate.Violation, descriptor: Any) -> Violation:
    proto = raw.proto
    path = _path(proto.field) if proto.field else ""
    # A rule of a whole message is named `<field it is about>.<what it asks>`.
    path = path or proto.rule_id.rpartition(".")[0]
    return Violation(path, _says(proto, descriptor), proto.rule_id)


def _says(proto: protovalidate.ViolationPb, descriptor: Any) -> str:
    if proto.rule_id == "enum.defined_only" and proto.field:
        return f"must be one of {', '.join(_enum_names(proto.field, descriptor))}"
    if proto.rule_id == "string.pattern":
        return _WORDS.get(proto.message.partition("`")[2].rpartition("`")[0], proto.message)
    return proto.message.removeprefix("value ") or "is not allowed"


def _enum_names(path: protovalidate.FieldPathPb, descriptor: Any) -> list[str]:
    field = None
    for element in path.elements:
        field = descriptor.fields_by_name[element.field_name]
        descriptor = field.message_type or descriptor
    assert field is not None
    assert field.enum_type is not None
    return [value.name for value in field.enum_type.values if value.number]


def _path(field: protovalidate.FieldPathPb) -> str:
    text = ""
    for element in field.elements:
        text += ("." if text else "") + element.field_name
        subscript = element.subscript
        if subscript is not None:
            text += f"[{subscript.value!r}]" if isinstance(subscript.value, str) else f"[{subscript.value}]"
    return text


@cache
def _struct_paths(descriptor: Descriptor) -> tuple[tuple[str, ...], ...]:
    return tuple(_find_structs(descriptor, ()))


def _find_structs(descriptor: Descriptor, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for field in descriptor.fields:
        if field.type != FieldDescriptor.TYPE_MESSAGE or field.is_repeated:
            continue
        here = (*above, field.name)
        inner = field.message_type
        if inner is None:
            continue
        if inner.full_name == "google.protobuf.Struct":
            yield here
        elif inner.file.package == "crown.notification.v1":
            yield from _find_structs(inner, here)


def _at(message: Message, path: tuple[str, ...]) -> Struct | None:
    for name in path:
        if not message.HasField(name):
            return None
        message = getattr(message, name)
    assert isinstance(message, Struct)
    return message


def depth(struct: Struct) -> int:
    """How deep `struct` nests; 1 for a flat one."""
    deepest = 0
    level: list[Value] = list(struct.fields.values())
    while level:
        deepest += 1
        below: list[Value] = []
        for value in level:
            if value.HasField("struct_value"):
                below.extend(value.struct_value.fields.values())
            elif value.HasField("list_value"):
                below.extend(value.list_value.values)
        level = below
    return max(deepest, 1)
