"""The messages of the contract as JSON Schema, as the gateway takes and prints them: names as in the protos, enums by
name, and 64-bit numbers as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from buf.validate import validate_pb2
from tools.openapi import bounds
from tools.openapi.messages import Contract, Enum, Message, Schema, component, reference

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
        return bounds.refuses_empty(field, rules)

    def field(self, message: Message, field: Field) -> Schema:
        """The schema of one field."""
        rules = field.options.Extensions[validate_pb2.field]
        about = " ".join([message.comments[field.name], *(f"Rule: {one.message}." for one in rules.cel)])
        schema = self._of(field, rules)
        return schema | ({"description": about.strip()} if about.strip() else {})

    def _of(self, field: Field, rules: Any) -> Schema:
        if field.label != Field.LABEL_REPEATED:
            return self._bounded(field, rules, skips_zero=bounds.skips_zero(field, rules))
        entry = self._contract.messages.get(field.type_name)
        if entry is not None and entry.entry:
            return self._map(entry, rules.map)
        items = self._bounded(field, rules.repeated.items, skips_zero=False)
        some = bounds.count(rules.repeated.min_items, rules.repeated.max_items, "Items")
        unique = {"uniqueItems": True} if rules.repeated.unique else {}
        return {"type": "array", "items": items, **some, **unique}

    def _map(self, entry: Message, rules: Any) -> Schema:
        key, value = entry.proto.field
        schema: Schema = {
            "type": "object",
            "additionalProperties": self._bounded(value, rules.values, skips_zero=False),
        }
        names = self._bounded(key, rules.keys, skips_zero=False)
        if names != {"type": "string"}:
            schema["propertyNames"] = names
        return schema | bounds.count(rules.min_pairs, rules.max_pairs, "Properties")

    def _bounded(self, field: Field, rules: Any, *, skips_zero: bool) -> Schema:
        if field.type == Field.TYPE_MESSAGE:
            ours = field.type_name in self._contract.messages
            return reference(field.type_name) if ours else dict(_KNOWN[field.type_name])
        if field.type == Field.TYPE_ENUM:
            return self._choice(field.type_name, rules.enum, skips_zero=skips_zero)
        return bounds.scalar(field.type, rules, skips_zero=skips_zero)

    def _choice(self, name: str, rules: Any, *, skips_zero: bool) -> Schema:
        enum = self._contract.enums[name]
        allowed = bounds.allowed(enum, rules, skips_zero=skips_zero)
        return reference(name) | ({"enum": allowed} if len(allowed) < len(enum.proto.value) else {})

    def _enum(self, enum: Enum) -> Schema:
        told = "\n".join(f"- `{name}`: {about}" for name, about in enum.comments.items())
        return {
            "type": "string",
            "description": f"{enum.about}\n\n{told}".strip(),
            "enum": [value.name for value in enum.proto.value],
        }
