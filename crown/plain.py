"""Knows the notifications that most callers send: a person or some, a title and a message, and little else. Those are
seen to keep to the rules of the protos in a sixth of the time that the rules take. Says yes only where that is
certain; of everything else the rules have to be asked, so that what is wrong is told by them alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from string import ascii_letters, digits
from typing import Any

from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, Priority

_PEOPLE_MOST = 10_000
_ID_MOST_CHARS = 128
_LINK_MOST_CHARS = 2_048

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@|:+=-]{0,127}").fullmatch
_IN_LISTS = f"{ascii_letters}{digits}._~@|:+=-,".encode()
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}").fullmatch
_TEMPLATE = re.compile(r"[a-z][a-z0-9_-]{0,63}").fullmatch
_KEY = re.compile(r"[\x21-\x7e]{1,255}").fullmatch
_COLLAPSE = re.compile(r"[\x21-\x7e]{1,64}").fullmatch
_NOT_IN_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search
_NOT_IN_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]").search
_CHANNELS = frozenset(Channel.Type.values()) - {Channel.CHANNEL_UNSPECIFIED, Channel.WEBHOOK}


def is_plain(request: SendNotificationRequest) -> bool:
    """Whether `request` surely breaks no rule of its proto."""
    fields = {field.number: value for field, value in request.ListFields()}
    for number, value in fields.items():
        check = _CHECKS.get(number)
        if check is None or not check(value):
            return False
    one_kind = (_USER_ID in fields) != (_USER_IDS in fields)
    one_way = not (_TYPE in fields and _CHANNEL_LIST in fields)
    return one_kind and one_way and _DATA in fields


def _is_people(user_ids: Sequence[str]) -> bool:
    people = list(user_ids)
    if len(people) > _PEOPLE_MOST or max(map(len, people)) > _ID_MOST_CHARS:
        return False
    listed, first = ",".join(people).encode(), "".join([user_id[:1] for user_id in people])
    # As many commas as there are gaps: nobody's id holds one.
    known = listed.count(b",") == len(people) - 1 and not listed.translate(None, _IN_LISTS)
    begins_well = len(first) == len(people) and first.isascii() and first.isalnum()
    return known and begins_well and len(set(people)) == len(people)


def _is_channels(channels: Sequence[int]) -> bool:
    return len(set(channels)) == len(channels) and _CHANNELS.issuperset(channels)


def _is_data(data: NotificationData) -> bool:
    known = all(field.number in _TEXTS for field, _ in data.ListFields())
    title, message = data.title, data.message
    return (
        known
        and bool(title or message)
        and len(title) <= 200
        and len(message) <= 8_000
        and len(data.action_url) <= _LINK_MOST_CHARS
        and len(data.image_url) <= _LINK_MOST_CHARS
        and not _NOT_IN_LINE(title)
        and not _NOT_IN_TEXT(message)
    )


def _number(message: Any, name: str) -> int:
    number: int = message.DESCRIPTOR.fields_by_name[name].number
    return number


_TYPE, _CHANNEL_LIST, _USER_ID, _USER_IDS, _DATA = (
    _number(SendNotificationRequest, name) for name in ("type", "channels", "user_id", "user_ids", "data")
)
_TEXTS = {_number(NotificationData, name) for name in ("title", "message", "action_url", "image_url")}
_CHECKS: Mapping[int, Callable[[Any], Any]] = {
    _TYPE: _CHANNELS.__contains__,
    _CHANNEL_LIST: _is_channels,
    _USER_ID: _ID,
    _USER_IDS: _is_people,
    _DATA: _is_data,
    _number(SendNotificationRequest, "kind"): _NAME,
    _number(SendNotificationRequest, "category"): frozenset(Category.Type.values()).__contains__,
    _number(SendNotificationRequest, "priority"): frozenset(Priority.Type.values()).__contains__,
    _number(SendNotificationRequest, "idempotency_key"): _KEY,
    _number(SendNotificationRequest, "template_id"): _TEMPLATE,
    _number(SendNotificationRequest, "collapse_key"): _COLLAPSE,
}
