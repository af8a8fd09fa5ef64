"""Makes bad input of good: bytes that are altered, and messages that say what cannot be. The same again for the same
seed."""

from __future__ import annotations

import json
import random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_TEXTS = (
    "", "heron", "like", "SECURITY", "PUSH", "\0", "\ud83d\ude00", "\u202e\u2028", "../../etc/passwd", "{{7*7}}",
    "%s%n", "' OR 1=1--", "$where", "2126-01-01T00:00:00Z", "9" * 400,
    "a@b.example\r\nBcc: c@d.example", "javascript:x",
    "https://169.254.169.254/", "x" * 5_000,
)  # fmt: skip
_NUMBERS = (0, 1, -1, 77, 2**31 - 1, -(2**31), 2**31, 2**53, 2**63, -(2**63), 10**30, 1.5, 1e308, -0.0)
_OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"$ne": None}, {"__proto__": {}})
_DEPTH_MOST = 4
_LISTED_MOST = 3


class Spoiler:
    """One run of chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        # Whether messages may say that they are of newer code, or hold values that only such knows.
        self.newer = True

    def raw(self, most: int = 300) -> bytes:
        """Any bytes."""
        return self.chance.randbytes(self.chance.randrange(most))

    def altered(self, good: bytes) -> bytes:
        """`good` with up to three changes: a bit, a byte, a piece that is gone, comes twice, or is another."""
        data = bytearray(good)
        for _ in range(self.chance.randint(1, 3)):
            at = self.chance.randrange(len(data) + 1)
            size = self.chance.randint(1, 8)
            match self.chance.randrange(5):
                case 0 if data:
                    data[at % len(data)] ^= 1 << self.chance.randrange(8)
                case 1:
                    del data[at : at + size]
                case 2:
                    data[at:at] = data[at : at + size]
                case 3:
                    data[at : at + size] = self.chance.randbytes(size)
                case _:
                    del data[at:]
        return bytes(data)

    def value(self, depth: int = 0) -> Any:
        """Any JSON."""
        if depth < _DEPTH_MOST and self.chance.random() < 0.3:
            inner = [self.value(depth + 1) for _ in range(self.chance.randrange(_LISTED_MOST + 1))]
            return inner if self.chance.random() < 0.5 else {self.word(): one for one in inner}
        return self.chance.choice([self.word(), self.chance.choice(_NUMBERS), self.chance.choice(_OTHERS)])

    def word(self) -> str:
        """Some text."""
        return self.chance.choice(_TEXTS)

    def json(self, descriptor: Descriptor | None) -> bytes:
        """A body for a message of this kind: with its fields, of which some hold anything; or hardly JSON at all."""
        names = [field.name for field in descriptor.fields] if descriptor else ["user_id", "data"]
        body = {name: self.value() for name in names if self.chance.random() < 0.6}
        raw = json.dumps(body).encode()
        return self.altered(raw) if self.chance.random() < 0.3 else raw

    def message(self, descriptor: Descriptor, depth: int = 0) -> Message:
        """A message of this kind whose fields say what they can, whether it makes sense or not."""
        made: Message = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if self.chance.random() < 0.5:
                self._fill(made, field, depth)
        return made

    def _fill(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        entry = field.message_type
        if field.name == "needs_version" and not self.newer:
            return
        if entry is not None and (entry.GetOptions().map_entry or depth == _DEPTH_MOST):
            return
        if entry is not None:
            place = getattr(made, field.name)
            inner = self.message(entry, depth + 1)
            place.add().CopyFrom(inner) if field.is_repeated else place.CopyFrom(inner)
        elif field.is_repeated:
            getattr(made, field.name).extend(self._scalar(field) for _ in range(_LISTED_MOST))
        else:
            setattr(made, field.name, self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> Any:
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return self.raw()
            case FieldDescriptor.CPPTYPE_STRING:
                # Protobuf takes no half of a pair.
                return self.word().encode("utf-8", "replace").decode()
            case FieldDescriptor.CPPTYPE_BOOL:
                return self.chance.random() < 0.5
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return self.chance.choice([0.0, -1.5, float("inf"), float("nan")])
            case FieldDescriptor.CPPTYPE_INT64:
                return self.chance.choice([0, 1, -1, 2**63 - 1, -(2**63)])
            case FieldDescriptor.CPPTYPE_UINT64:
                return self.chance.choice([0, 1, 2**64 - 1])
            case FieldDescriptor.CPPTYPE_UINT32:
                return self.chance.choice([0, 1, 2**32 - 1])
            case FieldDescriptor.CPPTYPE_ENUM if not self.newer:
                assert field.enum_type is not None
                return self.chance.choice(field.enum_type.values).number
            case _:
                return self.chance.choice([0, 1, 2, 77, -1, 2**31 - 1, -(2**31)])
