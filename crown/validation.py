"""Checks a decoded request against the rules that stand in the protos, and what rules cannot say: the depth
of free-form parts, and that JSON has their numbers. Answers every violation, not the first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from buf.validate import validate_pb2
from crown.errors import VIOLATIONS_MOST, Violation
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.plain import is_plain

DEPTH_MOST = 16
# Of a name that the caller made up, in a violation's path.
_NAME_MOST_CHARS = 40

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
    r"^(user|group|chat):[A-Za-z0-9][A-Za-z0-9._~@|:+=-]{0,127}$": (
        "must be user:, group: or chat: and an id of 1 to 128 letters, digits or ._~@|:+=-"
    ),
    r"^(group|chat):[A-Za-z0-9][A-Za-z0-9._~@|:+=-]{0,127}$": (
        "must be group: or chat: and an id of 1 to 128 letters, digits or ._~@|:+=-"
    ),
    r"^[a-z0-9]{1,64}$": "must be 1 to 64 lower-case letters or digits",
    r"^[a-z0-9-]{1,64}$": "must be 1 to 64 lower-case letters, digits or -",
    r"^[a-z][a-z0-9_-]{0,63}$": "must be lower-case letters, digits or _- and begin with a letter",
    r"^[\x21-\x7e]{1,64}$": "must be 1 to 64 printable ASCII characters without spaces",
    r"^[\x21-\x7e]{1,128}$": "must be 1 to 128 printable ASCII characters without spaces",
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": "must be a time of day such as 09:00",
    r"^[A-Za-z0-9:._-]{1,200}$": "must be 1 to 200 letters, digits or :._-",
    r"^[A-Za-z0-9_-]{87}=?$": "must be an uncompressed P-256 point in base64url",
    r"^[A-Za-z0-9_-]{22}(==)?$": "must be 16 bytes in base64url",
}


Path = tuple[str, ...]


def violations(message: Message) -> list[Violation]:
    """The broken rules of `message`, in the order of its fields and at most about a hundred; empty where it is
    good. A list that is too long is not looked into: that could take seconds."""
    if isinstance(message, SendNotificationRequest) and is_plain(message):
        return []
    found = list(_crowded(message))
    if found:
        message = _thinned(message, found)
    raw = protovalidate.collect_violations(message)
    found.extend(_violation(one, message.DESCRIPTOR) for one in islice(raw, VIOLATIONS_MOST))
    for path in _structs(message.DESCRIPTOR):
        struct = _at(message, path)
        if struct is not None and (problem := free_form_problem(struct)):
            found.append(Violation(".".join(path), problem, "free_form"))
    return found


def together(broken: Sequence[Violation], more: Sequence[Violation]) -> list[Violation]:
    """What the protos say, then what else is wrong; one word a field, and the protos' is enough."""
    told = {violation.field for violation in broken}
    return [*broken, *(violation for violation in more if violation.field not in told)]


def _violation(raw: protovalidate.Violation, descriptor: Any) -> Violation:
    proto = raw.proto
    path = _path(proto.field) if proto.field else ""
    # A rule of a whole message is named `<field it is about>.<what it asks>`.
    path = path or proto.rule_id.rpartition(".")[0]
    return Violation(path, _says(proto, descriptor), proto.rule_id)


def _says(proto: protovalidate.ViolationPb, descriptor: Any) -> str:
    if proto.rule_id in {"enum.defined_only", "enum.not_in", "enum.in"} and proto.field:
        return f"must be one of {', '.join(_enum_names(proto.field, descriptor))}"
    if proto.rule_id == "string.pattern":
        return _WORDS.get(proto.message.partition("`")[2].rpartition("`")[0], proto.message)
    return proto.message.removeprefix("repeated ").removeprefix("value ") or "is not allowed"


def _enum_names(path: protovalidate.FieldPathPb, descriptor: Any) -> list[str]:
    field = None
    for element in path.elements:
        field = descriptor.fields_by_name[element.field_name]
        inner = field.message_type
        # A map is a list of entries, whose values are what the path goes on in.
        is_map = inner is not None and inner.GetOptions().map_entry
        descriptor = (inner.fields_by_name["value"].message_type if is_map else inner) or descriptor
    assert field is not None
    assert field.enum_type is not None
    rules = field.GetOptions().Extensions[validate_pb2.field]
    refused = {*rules.enum.not_in, *rules.repeated.items.enum.not_in}
    allowed = set(getattr(rules.enum, "in")) or {value.number for value in field.enum_type.values} - refused
    return [value.name for value in field.enum_type.values if value.number and value.number in allowed]


def _path(field: protovalidate.FieldPathPb) -> str:
    text = ""
    for element in field.elements:
        text += ("." if text else "") + element.field_name
        subscript = element.subscript
        if subscript is not None:
            value = subscript.value
            text += f"['{_shown(value)}']" if isinstance(value, str) else f"[{value}]"
    return text


def _shown(name: str) -> str:
    """A name that the caller made up, short and printable: it travels in a header."""
    short = name if len(name) <= _NAME_MOST_CHARS else f"{name[:_NAME_MOST_CHARS]}..."
    return short.encode("ascii", "backslashreplace").decode()


def _find_fields(descriptor: Descriptor, above: Path) -> Iterator[tuple[Path, FieldDescriptor]]:
    """Every field of a message and of the messages in it, with its path; lists are not entered."""
    for field in descriptor.fields:
        here = (*above, field.name)
        yield here, field
        inner = field.message_type
        if inner is not None and not field.is_repeated and inner.file.package == "crown.notification.v1":
            yield from _find_fields(inner, here)


def _is_struct(field: FieldDescriptor) -> bool:
    inner = field.message_type
    return inner is not None and not field.is_repeated and inner.full_name == "google.protobuf.Struct"


def _at(message: Message, path: Path) -> Any:
    """What stands at `path`; None where something on the way is absent."""
    *above, last = path
    for name in above:
        if not message.HasField(name):
            return None
        message = getattr(message, name)
    field = message.DESCRIPTOR.fields_by_name[last]
    if field.message_type is not None and not field.is_repeated and not message.HasField(last):
        return None
    return getattr(message, last)


def _crowded(message: Message) -> Iterator[Violation]:
    """The lists and maps that have more entries than their rule allows."""
    for path, most, rule in _bounds(message.DESCRIPTOR):
        entries = _at(message, path)
        if entries is not None and len(entries) > most:
            yield Violation(".".join(path), f"must have at most {most} entries", rule)


@cache
def _bounds(descriptor: Descriptor) -> tuple[tuple[Path, int, str], ...]:
    """The lists and maps of a message that have a bound: where, how many, and the rule's name."""
    found = []
    for path, field in _find_fields(descriptor, ()):
        rules = field.GetOptions().Extensions[validate_pb2.field]
        if rules.map.max_pairs:
            found.append((path, int(rules.map.max_pairs), "map.max_pairs"))
        elif rules.repeated.max_items:
            found.append((path, int(rules.repeated.max_items), "repeated.max_items"))
    return tuple(found)


@cache
def _structs(descriptor: Descriptor) -> tuple[Path, ...]:
    """Where a message holds free-form parts."""
    return tuple(path for path, field in _find_fields(descriptor, ()) if _is_struct(field))


def _thinned(message: Message, crowded: list[Violation]) -> Message:
    """A copy with one entry in each list that is too long."""
    copy = type(message)()
    copy.CopyFrom(message)
    for violation in crowded:
        entries = _at(copy, tuple(violation.field.split(".")))
        for surplus in list(entries)[1:] if hasattr(entries, "keys") else ():
            del entries[surplus]
        if not hasattr(entries, "keys"):
            del entries[1:]
    return copy


def free_form_problem(struct: Struct) -> str | None:
    """Why `struct` may not be; None where it may. What JSON cannot print would break every answer that
    holds it."""
    level: list[Value] = list(struct.fields.values())
    depth = 0
    while level:
        depth += 1
        if depth > DEPTH_MOST:
            return f"must be at most {DEPTH_MOST} levels deep"
        if not all(math.isfinite(value.number_value) for value in level):
            return "must hold finite numbers only"
        level = [inner for value in level for inner in _inside(value)]
    return None


def _inside(value: Value) -> list[Value]:
    if value.HasField("struct_value"):
        return list(value.struct_value.fields.values())
    return list(value.list_value.values) if value.HasField("list_value") else []
