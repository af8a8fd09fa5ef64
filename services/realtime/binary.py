"""The binary frames of V2: a byte that says the kind, one byte with the length of each field, the fields, and the
data as it is. A push of the server has no ref. Supabase's client adds a kind of its own."""

from __future__ import annotations

import base64

import msgspec

from services.realtime.message import NULL, Broadcast, Message, Push, Reply

_PUSH, _REPLY, _BROADCAST = 0, 1, 2
# Of each field: its length is one byte.
FIELD_MOST_BYTES = 255
_PUSH_FIELDS = 4
# Of Supabase's kind: the fields of a push and one of metadata, then a byte that says what the data is.
_MEMBERS_FIELDS = 5


class Unframeable(Exception):
    """A field does not fit a binary frame."""


def decode(frame: bytes) -> Message:
    """The push of a client in `frame`. Raises ValueError where it is none."""
    match frame[:1]:
        case b"\x00":
            (join_ref, ref, topic, event), data = _fields(frame, _PUSH_FIELDS, 1 + _PUSH_FIELDS)
            return Message(_said(join_ref), _said(ref), topic, event, data)
        case b"\x03":
            return _members_push(frame)
        case _:
            raise ValueError("no push")


def _members_push(frame: bytes) -> Message:
    """What Supabase's client sends to the other members, as it says the same in text: the event `broadcast`."""
    start = 2 + _MEMBERS_FIELDS
    (join_ref, ref, topic, event, _), data = _fields(frame, _MEMBERS_FIELDS, start)
    match frame[start - 1]:
        case 0:
            payload = in_json(data)
        case 1:
            payload = msgspec.json.decode(data, type=msgspec.Raw)
        case _:
            raise ValueError("neither bytes nor JSON")
    whole = {"type": "broadcast", "event": event, "payload": payload}
    return Message(_said(join_ref), _said(ref), topic, "broadcast", msgspec.Raw(msgspec.json.encode(whole)))


def _fields(frame: bytes, count: int, start: int) -> tuple[list[str], bytes]:
    """The fields, whose lengths stand behind the kind, and the data; the first field begins at `start`."""
    if len(frame) < start:
        raise ValueError("cut short")
    fields, at = [], start
    for size in frame[1 : 1 + count]:
        fields.append(frame[at : at + size].decode())
        at += size
    if at > len(frame):
        raise ValueError("cut short")
    return fields, frame[at:]


def in_json(data: bytes) -> msgspec.Raw:
    """Bytes for who takes JSON only."""
    return msgspec.Raw(b'{"base64":"%b"}' % base64.b64encode(data))


def push(message: Push, data: bytes) -> bytes:
    """A message for one connection. Raises Unframeable."""
    return _frame(_PUSH, (_ref(message.join_ref), message.topic, message.event), data)


def reply(answer: Reply, data: bytes) -> bytes:
    """The answer to one message. Raises Unframeable."""
    fields = (_ref(answer.join_ref), _ref(answer.ref), answer.topic, answer.status)
    return _frame(_REPLY, fields, data)


def broadcast(message: Broadcast, data: bytes) -> bytes:
    """What everybody on a topic gets. Raises Unframeable."""
    return _frame(_BROADCAST, (message.topic, message.event), data)


def _frame(kind: int, fields: tuple[str, ...], data: bytes) -> bytes:
    encoded = [field.encode() for field in fields]
    sizes = [len(field) for field in encoded]
    if max(sizes) > FIELD_MOST_BYTES:
        raise Unframeable(f"a field is longer than {FIELD_MOST_BYTES} bytes")
    return b"".join((bytes((kind, *sizes)), *encoded, data))


def _said(ref: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(ref))


def _ref(ref: msgspec.Raw) -> str:
    """A ref as text: nothing for null, a number by its digits."""
    if bytes(ref) == bytes(NULL):
        return ""
    found = msgspec.json.decode(ref)
    if isinstance(found, str):
        return found
    if isinstance(found, list | dict):
        raise Unframeable("the ref is no text")
    return bytes(ref).decode()
