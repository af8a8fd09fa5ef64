"""What a value may be: the types of the protos, and the rules of buf.validate as bounds of JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from buf.validate import validate_pb2
from tools.openapi.messages import Enum, Schema

_SCALARS: Mapping[int, Schema] = {
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    Field.TYPE_INT32: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    Field.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    Field.TYPE_DOUBLE: {"type": "number"},
    Field.TYPE_FLOAT: {"type": "number"},
    # JSON's numbers end at 2^53: these are printed as text.
    Field.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"},
    Field.TYPE_UINT64: {"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"},
}
_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def skips_zero(field: Field, rules: Any) -> bool:
    """Whether an empty value is as good as none."""
    return bool(field.proto3_optional) or rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE


def refuses_empty(field: Field, rules: Any) -> bool:
    """Whether a request without it is refused."""
    return bool(rules.required) or (not skips_zero(field, rules) and _refuses_zero(rules))


def _refuses_zero(rules: Any) -> bool:
    match rules.WhichOneof("type"):
        case "string":
            text = rules.string
            pattern = bool(text.pattern) and not re.search(_python(text.pattern), "")
            return pattern or text.min_len > 0 or text.uuid or bool(getattr(text, "in"))
        case "enum":
            return 0 in rules.enum.not_in or (
                bool(getattr(rules.enum, "in")) and 0 not in getattr(rules.enum, "in")
            )
        case "int32" | "uint32" as kind:
            return bool(getattr(rules, kind).gte > 0)
        case "repeated":
            return bool(rules.repeated.min_items > 0)
        case "map":
            return bool(rules.map.min_pairs > 0)
        case _:
            return False


def scalar(kind: int, rules: Any, *, skips_zero: bool) -> Schema:
    """The schema of a value of this type of descriptor.proto; with `skips_zero` an empty one is allowed, too."""
    schema = dict(_SCALARS[kind])
    match rules.WhichOneof("type"):
        case "string":
            schema |= _string(rules.string, skips_zero=skips_zero)
        case "int32" | "uint32" as name:
            schema |= _number(getattr(rules, name))
        case _:
            pass
    return schema


def allowed(enum: Enum, rules: Any, *, skips_zero: bool) -> list[str]:
    """The values of an enum that the rules let through."""
    return [
        value.name
        for value in enum.proto.value
        if (skips_zero and value.number == 0)
        or (
            value.number not in rules.not_in
            and (not getattr(rules, "in") or value.number in getattr(rules, "in"))
        )
    ]


def count(least: int, most: int, of: str) -> Schema:
    """How many there may be `of` them, Items or Properties; 0 is for any number."""
    return {name: bound for name, bound in ((f"min{of}", least), (f"max{of}", most)) if bound}


def _string(rules: Any, *, skips_zero: bool) -> Schema:
    schema: Schema = {}
    pattern = _UUID if rules.uuid else _python(rules.pattern)
    if pattern:
        schema["pattern"] = f"^$|{pattern}" if skips_zero else pattern
    if rules.min_len and not skips_zero:
        schema["minLength"] = rules.min_len
    if rules.max_len:
        schema["maxLength"] = rules.max_len
    if choices := list(getattr(rules, "in")):
        schema["enum"] = ["", *choices] if skips_zero else choices
    return schema


def _python(pattern: str) -> str:
    """A pattern of RE2 in the words that JSON Schema has, too."""
    return re.sub(r"\\x\{([0-9a-fA-F]{4})\}", r"\\u\1", pattern)


def _number(rules: Any) -> Schema:
    schema: Schema = {}
    if rules.HasField("gte"):
        schema["minimum"] = rules.gte
    if rules.HasField("lte"):
        schema["maximum"] = rules.lte
    if rules.HasField("lt"):
        schema["exclusiveMaximum"] = rules.lt
    if rules.HasField("gt"):
        schema["exclusiveMinimum"] = rules.gt
    return schema
