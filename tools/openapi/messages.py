"""The messages and enums of the protos, with what their comments say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2

PACKAGE = "crown.notification.v1"
# A piece of the document.
Schema = dict[str, Any]

# Field numbers in descriptor.proto.
_FILE_MESSAGE, _FILE_ENUM = 4, 5
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM = 2, 3, 4
_ENUM_VALUE = 2


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

    def reachable(self, names: Iterable[str]) -> set[str]:
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
