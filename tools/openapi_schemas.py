"""The messages of the contract as JSON Schema, as the gateway takes and prints them: names as in the protos, enums by
name, 64-bit numbers as text, and the rules of buf.validate as bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from buf.validate import validate_pb2

PACKAGE = "crown.notification.v1"
Schema = dict[str, Any]

# Field numbers in descriptor.proto.
_FILE_MESSAGE, _FILE_ENUM = 4, 5
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM = 2, 3, 4
_ENUM_VALUE = 2

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
_KNOWN: Mapping[str, Schema] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,9})?s$"},
    ".google.protobuf.Struct": {"type": "object"},
    ".google.protobuf.ListValue": {"type": "array"},
    ".google.protobuf.Value": {},
    ".google.protobuf.FieldMask": {"type": "string"},
    ".google.api.HttpBody": {},
    ".google.rpc.Status": {"$ref": "#/components/schemas/Error"},
}


@dataclass(frozen=True)
class Message:
    """A message with what its comments say, the fields' by name."""

    name: str
    proto: descriptor_pb2.DescriptorProto
    about: str
    comments: Mapping[str, str]

    @property
    def entry(self) -> bool:
        """Whether it is the entry of a map."""
        return self.proto.options.map_entry


@dataclass(frozen=True)
class Enum:
    """An enum with what its comments say, the values' by name."""

    proto: descriptor_pb2.EnumDescriptorProto
    about: str
    comments: Mapping[str, str]


class Contract:
    """Every message and enum of the protos, by full name with a dot before it."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        self.messages: dict[str, Message] = {}
        self.enums: dict[str, Enum] = {}
        for file in (file for file in files.file if file.package == PACKAGE):
            comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
            for number, enum in enumerate(file.enum_type):
                self._add_enum(enum, f".{file.package}", (_FILE_ENUM, number), comments)
            for number, message in enumerate(file.message_type):
                self._add(message, f".{file.package}", (_FILE_MESSAGE, number), comments)

    def _add(
        self,
        proto: descriptor_pb2.DescriptorProto,
        scope: str,
        path: tuple[int, ...],
        comments: Mapping[tuple[int, ...], str],
    ) -> None:
        name = f"{scope}.{proto.name}"
        fields = {
            field.name: text_of(comments.get((*path, _MESSAGE_FIELD, number), ""))
            for number, field in enumerate(proto.field)
        }
        self.messages[name] = Message(name, proto, text_of(comments.get(path, "")), fields)
        for number, enum in enumerate(proto.enum_type):
            self._add_enum(
                enum, name, (*path, _MESSAGE_ENUM, number), comments, text_of(comments.get(path, ""))
            )
        for number, nested in enumerate(proto.nested_type):
            self._add(nested, name, (*path, _MESSAGE_NESTED, number), comments)

    def _add_enum(
        self,
        proto: descriptor_pb2.EnumDescriptorProto,
        scope: str,
        path: tuple[int, ...],
        comments: Mapping[tuple[int, ...], str],
        about: str = "",
    ) -> None:
        values = {
            value.name: text_of(comments.get((*path, _ENUM_VALUE, number), ""))
            for number, value in enumerate(proto.value)
        }
        self.enums[f"{scope}.{proto.name}"] = Enum(proto, about or text_of(comments.get(path, "")), values)

    def reachable(self, names: Iterator[str]) -> set[str]:
        """These messages and all that are in them."""
        found: set[str] = set()
        waiting = [name for name in names if name in self.messages]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                types = (field.type_name for field in self.messages[name].proto.field)
                waiting += [one for one in types if one in self.messages]
        return found


def text_of(comment: str) -> str:
    """A comment as one paragraph."""
    return " ".join(comment.split())


def component(name: str) -> str:
    """What a message or enum is called in the document."""
    return name.removeprefix(f".{PACKAGE}.").removesuffix(".Type").replace(".", "")


def reference(name: str) -> Schema:
    """The schema of a message or enum, by reference."""
    return {"$ref": f"#/components/schemas/{component(name)}"}


class Schemas:
    """Makes schemas. `answered` are the messages that only the suite writes: of these, all that is always printed is
    required."""

    def __init__(self, contract: Contract, answered: set[str]) -> None:
        self._contract = contract
        self._answered = answered

    def components(self, names: set[str], inline: set[str]) -> dict[str, Schema]:
        """The schemas of these messages, and of the enums in them and in those that stand inline, by name."""
        found: dict[str, Schema] = {}
        for name in names | inline:
            message = self._contract.messages[name]
            if name in names and not message.entry:
                found[component(name)] = self.message(message)
            for field in message.proto.field:
                if field.type == Field.TYPE_ENUM:
                    found[component(field.type_name)] = self._enum(self._contract.enums[field.type_name])
        return dict(sorted(found.items()))

    def message(self, message: Message, without: frozenset[str] = frozenset()) -> Schema:
        """The schema of a message, less some of its fields."""
        fields = [field for field in message.proto.field if field.name not in without]
        required = [field.name for field in fields if self.required(message, field)]
        rules = [rule.message for rule in message.proto.options.Extensions[validate_pb2.message].cel]
        about = " ".join([message.about, *(f"Rule: {rule}." for rule in rules)]).strip()
        schema: Schema = {"type": "object", "description": about}
        if fields:
            schema["properties"] = {field.name: self.field(message, field) for field in fields}
        if required:
            schema["required"] = required
        return {key: value for key, value in schema.items() if value != ""}

    def required(self, message: Message, field: Field) -> bool:
        """Whether a request without it is refused, or an answer always has it."""
        if message.name in self._answered:
            return not field.proto3_optional and (
                field.type != Field.TYPE_MESSAGE or field.label == Field.LABEL_REPEATED
            )
        rules = field.options.Extensions[validate_pb2.field]
        return bool(rules.required) or (not _skips_zero(field, rules) and _refuses_zero(rules))

    def field(self, message: Message, field: Field) -> Schema:
        """The schema of one field."""
        rules = field.options.Extensions[validate_pb2.field]
        about = " ".join([message.comments[field.name], *(f"Rule: {one.message}." for one in rules.cel)])
        schema = self._of(field, rules)
        return schema | ({"description": about.strip()} if about.strip() else {})

    def _of(self, field: Field, rules: Any) -> Schema:
        if field.label != Field.LABEL_REPEATED:
            return self._bounded(field, rules, skips_zero=_skips_zero(field, rules))
        entry = self._contract.messages.get(field.type_name)
        if entry is not None and entry.entry:
            return self._map(entry, rules.map)
        items = self._bounded(field, rules.repeated.items, skips_zero=False)
        bounds = {"minItems": rules.repeated.min_items, "maxItems": rules.repeated.max_items}
        unique = {"uniqueItems": True} if rules.repeated.unique else {}
        return {"type": "array", "items": items, **{k: v for k, v in bounds.items() if v}, **unique}

    def _map(self, entry: Message, rules: Any) -> Schema:
        key, value = entry.proto.field
        schema: Schema = {
            "type": "object",
            "additionalProperties": self._bounded(value, rules.values, skips_zero=False),
        }
        names = self._bounded(key, rules.keys, skips_zero=False)
        if names != {"type": "string"}:
            schema["propertyNames"] = names
        bounds = {"minProperties": rules.min_pairs, "maxProperties": rules.max_pairs}
        return schema | {name: value for name, value in bounds.items() if value}

    def _bounded(self, field: Field, rules: Any, *, skips_zero: bool) -> Schema:
        if field.type == Field.TYPE_MESSAGE:
            ours = field.type_name in self._contract.messages
            return reference(field.type_name) if ours else dict(_KNOWN[field.type_name])
        if field.type == Field.TYPE_ENUM:
            return self._choice(field.type_name, rules.enum, skips_zero=skips_zero)
        schema = dict(_SCALARS[field.type])
        match rules.WhichOneof("type"):
            case "string":
                schema |= _string(rules.string, skips_zero=skips_zero)
            case "int32" | "uint32" as kind:
                schema |= _number(getattr(rules, kind))
            case _:
                pass
        return schema

    def _choice(self, name: str, rules: Any, *, skips_zero: bool) -> Schema:
        values = self._contract.enums[name].proto.value
        allowed = [
            value.name
            for value in values
            if (skips_zero and value.number == 0)
            or (
                value.number not in rules.not_in
                and (not getattr(rules, "in") or value.number in getattr(rules, "in"))
            )
        ]
        return reference(name) | ({"enum": allowed} if len(allowed) < len(values) else {})

    def _enum(self, enum: Enum) -> Schema:
        told = "\n".join(f"- `{name}`: {about}" for name, about in enum.comments.items())
        return {
            "type": "string",
            "description": f"{enum.about}\n\n{told}".strip(),
            "enum": [value.name for value in enum.proto.value],
        }


def _skips_zero(field: Field, rules: Any) -> bool:
    """Whether an empty value is as good as none."""
    return bool(field.proto3_optional) or rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE


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
