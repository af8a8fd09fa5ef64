"""Requests against the rules of the protos: every violation, named so that a caller can mend it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

import crown.notification.v1
from buf.validate import validate_pb2
from crown import validation
from crown.notification.v1.contact_service_pb2 import UpdateContactRequest
from crown.notification.v1.device_service_pb2 import RegisterDeviceRequest
from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from crown.notification.v1.ingest_service_pb2 import (
    GetNotificationRequest,
    SendBulkNotificationsRequest,
    SendNotificationRequest,
)
from crown.notification.v1.preference_service_pb2 import UpdateNotificationPreferencesRequest
from crown.validation import free_form_problem, violations

CHANNELS = "must be one of REAL_TIME, PUSH, EMAIL, SMS, IN_APP"
BETWEEN = "must be greater than or equal to 1 and less than or equal to"
USER_ID = "must be 1 to 128 letters, digits or ._~@|:+=- and begin with a letter or digit"


def send(**given: Any) -> SendNotificationRequest:
    """A good request with these fields over it; one that is None is left out."""
    fields = {"user_id": "user123", "data": {"title": "Hi"}} | given
    return SendNotificationRequest(**{name: value for name, value in fields.items() if value is not None})


def preferring(*categories: str) -> UpdateNotificationPreferencesRequest:
    """Wants push for these categories."""
    request = UpdateNotificationPreferencesRequest(user_id="u")
    for category in categories:
        request.preferences.categories[category].push = True
    return request


def told(message: Message) -> dict[str, str]:
    return {violation.field: violation.description for violation in violations(message)}


@pytest.mark.parametrize(
    "request_",
    [
        send(),
        send(type="PUSH"),
        send(channels=["PUSH", "EMAIL", "SMS", "IN_APP", "REAL_TIME"]),
        send(user_id=None, user_ids=["user1", "user2"]),
        send(user_id="a" * 128),
        send(user_id="a.b_c~d@e|f:g+h=i-j"),
        send(data={"message": "x" * 8000}),
        send(data={"title": "é" * 200, "message": "tab\tline\n\u05e9\u05dc\u05d5\u05dd 👩‍👩‍👧 \u200b"}),
        send(kind="like", category="SECURITY", priority="CRITICAL", idempotency_key="!" * 255),
        send(address={"email": "x", "phone": "+14155550123", "device_tokens": ["a"]}),
        send(expires_at=Timestamp(seconds=4_000_000_000)),
    ],
    ids=str,
)
def test_what_is_good_breaks_nothing(request_: Message) -> None:
    assert violations(request_) == []


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            send(user_id=None),
            {"user_id": "exactly one of user_id, user_ids, group_ids and everyone is required"},
        ),
        (
            send(user_ids=["b"]),
            {"user_id": "exactly one of user_id, user_ids, group_ids and everyone is required"},
        ),
        (send(user_id="a b"), {"user_id": USER_ID}),
        (send(user_id="a" * 129), {"user_id": USER_ID}),
        (send(user_id=".a"), {"user_id": USER_ID}),
        (send(user_id="a\n"), {"user_id": USER_ID}),
        (send(user_id="usér"), {"user_id": USER_ID}),
        (send(user_id="a.>*"), {"user_id": USER_ID}),
        (send(user_id=None, user_ids=["ok", "a b", ""]), {"user_ids[1]": USER_ID, "user_ids[2]": USER_ID}),
        (send(user_id=None, user_ids=["a", "a"]), {"user_ids": "must contain unique items"}),
        (
            send(user_id=None, user_ids=[f"u{n}" for n in range(10_001)]),
            {"user_ids": "must have at most 10000 entries"},
        ),
        (send(type=77), {"type": CHANNELS}),
        (send(type=-1), {"type": CHANNELS}),
        (send(channels=[0]), {"channels[0]": CHANNELS}),
        (send(channels=[2, 9]), {"channels[1]": CHANNELS}),
        (send(channels=[2, 2]), {"channels": "must contain unique items"}),
        (send(type=2, channels=[3]), {"channels": "give type or channels, not both"}),
        (send(category=9), {"category": "must be one of ACTIVITY, SOCIAL, SYSTEM, MARKETING, SECURITY"}),
        (send(priority=9), {"priority": "must be one of CRITICAL, NORMAL, BULK"}),
        (send(data=None), {"data": "is required"}),
        (send(data={}), {"data": "title or message is required"}),
        (send(data={"image_url": "x"}), {"data": "title or message is required"}),
        (send(data={"title": "x" * 201}), {"data.title": "must be at most 200 characters"}),
        (send(data={"title": "a\nb"}), {"data.title": "must be one line without control characters"}),
        (send(data={"title": "a\x00b"}), {"data.title": "must be one line without control characters"}),
        (send(data={"title": "a\u2028b"}), {"data.title": "must be one line without control characters"}),
        (
            send(data={"message": "a\x07"}),
            {"data.message": "must not hold control characters other than tab and line break"},
        ),
        (
            send(data={"message": "a\x85"}),
            {"data.message": "must not hold control characters other than tab and line break"},
        ),
        (send(kind="Like"), {"kind": "must be lower-case letters, digits or _ and begin with a letter"}),
        (send(expires_at=Timestamp(seconds=1)), {"expires_at": "must be greater than now"}),
        (
            send(idempotency_key="a b"),
            {"idempotency_key": "must be 1 to 255 printable ASCII characters without spaces"},
        ),
        (
            send(idempotency_key="x" * 256),
            {"idempotency_key": "must be 1 to 255 printable ASCII characters without spaces"},
        ),
        (
            send(address={"phone": "0123"}),
            {"address.phone": "must be a phone number in E.164 form, such as +14155550123"},
        ),
        (
            send(address={"device_tokens": [""]}),
            {"address.device_tokens[0]": "must be at least 1 characters"},
        ),
        (send(user_id=None, user_ids=["a"], address={"email": "x"}), {"address": "goes with user_id only"}),
        (SendBulkNotificationsRequest(), {"notifications": "must contain at least 1 item(s)"}),
        (
            SendBulkNotificationsRequest(notifications=[send()] * 1_001),
            {"notifications": "must have at most 1000 entries"},
        ),
        (GetNotificationRequest(notification_id="1"), {"notification_id": "must be a valid UUID"}),
        (ListNotificationsRequest(user_id="u", page=0), {"page": f"{BETWEEN} 10000"}),
        (ListNotificationsRequest(user_id="u", limit=101), {"limit": f"{BETWEEN} 100"}),
        (ListNotificationsRequest(user_id="u", limit=-1), {"limit": f"{BETWEEN} 100"}),
        (
            UpdateContactRequest(user_id="u", contact={"user_id": "v"}),  # type: ignore[arg-type]
            {"contact.user_id": "must be the user_id of the path, or be left out"},
        ),
        (
            UpdateContactRequest(user_id="u", contact={"locale": "english!"}),  # type: ignore[arg-type]
            {"contact.locale": "must be a language tag, such as en or pt-BR"},
        ),
        (
            preferring("news"),
            {
                "preferences.categories['news']": "must be in list [activity, social, system, marketing, security]"
            },
        ),
        (
            RegisterDeviceRequest(user_id="u", token="a b"),
            {"token": "must be printable ASCII characters without spaces"},
        ),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, Message) else "",
)
def test_a_violation_names_the_field_and_what_is_allowed(request_: Message, expected: dict[str, str]) -> None:
    assert told(request_) == expected


def patterns() -> set[str]:
    """Every regular expression that a field of the contract must match."""
    found = set()
    for path in Path(crown.notification.v1.__path__[0]).glob("*_pb2.py"):
        file = importlib.import_module(f"crown.notification.v1.{path.stem}").DESCRIPTOR
        for message in file.message_types_by_name.values():
            for field in message.fields:
                rules = field.GetOptions().Extensions[validate_pb2.field]
                found |= {rules.string.pattern, rules.repeated.items.string.pattern}
    return found - {""}


@pytest.mark.parametrize("pattern", sorted(patterns()))
def test_every_pattern_of_the_contract_is_told_in_words(pattern: str) -> None:
    """A regular expression says nothing to most callers."""
    assert pattern in validation._WORDS


# -- how much of it


def test_a_list_that_is_too_long_is_not_looked_into() -> None:
    found = told(send(user_id=None, user_ids=["not good"] * 50_000, data={"title": "x" * 201}))
    assert found == {
        "user_ids": "must have at most 10000 entries",
        "user_ids[0]": USER_ID,
        "data.title": "must be at most 200 characters",
    }


def test_nor_is_a_map() -> None:
    request = preferring(*(f"k{number}" for number in range(20_000)))
    found = told(request)
    assert found["preferences.categories"] == "must have at most 5 entries"
    assert len(found) == 2
    assert len(request.preferences.categories) == 20_000


def test_no_more_are_told_than_anybody_reads() -> None:
    assert len(violations(send(user_id=None, user_ids=[f"not good {n}" for n in range(1_000)]))) == 100


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a" * 40, "a" * 40),
        ("a" * 41, f"{'a' * 40}..."),
        ("naïve\n", r"na\xefve" + "\n"),
        ("дом", r"\u0434\u043e\u043c"),
    ],
)
def test_a_name_that_the_caller_made_up_is_shown_short(name: str, shown: str) -> None:
    assert list(told(preferring(name))) == [f"preferences.categories['{shown}']"]


# -- free-form parts


def nested(depth: int) -> Struct:
    inner: Any = 1
    for _ in range(depth):
        inner = {"k": inner}
    struct = Struct()
    struct.update(inner)
    return struct


@pytest.mark.parametrize(
    ("struct", "problem"),
    [
        (Struct(), None),
        (nested(1), None),
        (nested(16), None),
        (nested(17), "must be at most 16 levels deep"),
        (nested(30), "must be at most 16 levels deep"),
    ],
    ids=["empty", "1", "16", "17", "30"],
)
def test_free_form_parts_nest_sixteen_deep(struct: Struct, problem: str | None) -> None:
    assert free_form_problem(struct) == problem
    found = told(send(data={"title": "x", "extra": struct}))
    assert found == ({"data.extra": problem} if problem else {})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    struct = Struct()
    struct.update({"a": [1, {"b": number}]})
    assert free_form_problem(struct) == "must hold finite numbers only"


def test_everything_else_may_stand_in_them() -> None:
    struct = Struct()
    struct.update({"a": [1, None, True, "x", {"": []}], "": {}, "big": 1e308})
    assert free_form_problem(struct) is None
