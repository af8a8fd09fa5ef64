"""From a request to what goes on the intake."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from crown import catalogue, ids, vault
from crown.auth import Principal
from crown.notification.v1.events_pb2 import IntakeEvent, NotificationContent
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.notification_pb2 import Address, NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, Priority
from crown.vault import Key
from services.ingest.intake import accept
from services.ingest.intake.accept import Accepted
from services.ingest.webhook.hosts import WebhookHosts

RULES = accept.Rules(
    "feed",
    frozenset({"crown.example"}),
    WebhookHosts.parse("feed=hooks.example|127.0.0.1:9000,chat=*.chat.example"),
)
DATA_KEY = Key.fresh()


def send(**given: Any) -> SendNotificationRequest:
    """A good request with these fields over it; one that is None is left out."""
    fields = {"user_id": "user123", "data": {"title": "Hi"}} | given
    return SendNotificationRequest(**{name: value for name, value in fields.items() if value is not None})


def resolved(
    request: SendNotificationRequest,
    *,
    sender: str = "feed",
    method: str = "SendNotification",
    key: str = "",
    index: int = 0,
) -> Accepted:
    return accept.resolve(request, sender, method, key, index, DATA_KEY)


def events(found: Accepted) -> list[IntakeEvent]:
    return [IntakeEvent.FromString(part) for part in found.parts]


# -- what it says


def content(request: SendNotificationRequest) -> NotificationContent:
    (event,) = events(resolved(request))
    return NotificationContent.FromString(vault.unseal(DATA_KEY, event.content))


def test_a_kind_has_a_collapse_key_and_a_template_for_who_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert content(send(kind="maintenance")).collapse_key == "maintenance"
    assert content(send(kind="maintenance", collapse_key="mine")).collapse_key == "mine"
    assert content(send(kind="maintenance", group_key="site:1")).collapse_key == "site:1"
    assert content(send(kind="comment")).collapse_key == ""
    held = dict(catalogue.KINDS)
    held["update"] = replace(held["update"], template="release")
    monkeypatch.setattr(catalogue, "KINDS", held)
    assert content(send(kind="update")).template_id == "release"
    assert content(send(kind="update", template_id="mine")).template_id == "mine"


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_a_kind_alone_says_where_it_goes(kind: str) -> None:
    (event,) = events(resolved(send(kind=kind)))
    known = catalogue.kind(kind)
    assert (event.category, tuple(event.channels)) == (known.category, known.channels)


def test_a_request_becomes_one_message() -> None:
    before = datetime.now(UTC)
    request = send(
        type="PUSH",
        kind="comment",
        expires_at=Timestamp(seconds=4_000_000_000),
        address={"device_tokens": ["t"]},
    )
    found = resolved(request)
    (event,) = events(found)
    assert (event.notification_id, event.sender) == (found.notification_id, "feed")
    assert (list(event.user_ids), event.recipient_count) == (["user123"], 1)
    assert (list(event.channels), event.kind) == ([Channel.PUSH], "comment")
    assert (event.category, event.priority) == (Category.ACTIVITY, Priority.NORMAL)
    assert event.expire_time.seconds == 4_000_000_000
    assert abs(event.create_time.ToDatetime(tzinfo=UTC) - before).total_seconds() < 5
    assert found.lane == "normal"
    content = NotificationContent.FromString(vault.unseal(DATA_KEY, event.content))
    assert NotificationData.FromString(content.data) == request.data
    assert Address.FromString(content.address) == request.address


def test_nothing_of_the_content_shows() -> None:
    request = send(
        data={"title": "canary-1", "message": "canary-2", "action_url": "/canary-3"},
        address={"email": "canary-4@x.org", "phone": "+14155550123"},
    )
    (part,) = resolved(request).parts
    assert b"canary" not in part
    assert b"4155550123" not in part


def test_what_was_said_is_kept_to_the_letter() -> None:
    extra = Struct()
    extra.update({"z": [1, None, {"é": "\u200b"}], "a": True})
    data = {"title": "שלום 👩‍👩‍👧 e\u0301", "message": "a\tb\nc\u202e", "extra": extra}
    (event,) = events(resolved(send(data=data)))
    content = NotificationContent.FromString(vault.unseal(DATA_KEY, event.content))
    assert NotificationData.FromString(content.data) == NotificationData(**data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "channels"),
    [
        ({"type": "SMS"}, [Channel.SMS]),
        ({"channels": ["EMAIL", "PUSH"]}, [Channel.EMAIL, Channel.PUSH]),
        ({"kind": "campaign"}, list(catalogue.KINDS["campaign"].channels)),
        ({"kind": "campaign", "type": "PUSH"}, [Channel.PUSH]),
        ({}, [Channel.IN_APP, Channel.REAL_TIME]),
    ],
    ids=str,
)
def test_who_names_no_channel_gets_the_kind_s(given: dict[str, Any], channels: list[int]) -> None:
    (event,) = events(resolved(send(**given)))
    assert list(event.channels) == channels


@pytest.mark.parametrize(
    ("given", "category", "lane"),
    [
        ({}, Category.ACTIVITY, "normal"),
        ({"kind": "login_alert"}, Category.SECURITY, "critical"),
        ({"kind": "like", "category": "MARKETING"}, Category.MARKETING, "bulk"),
        ({"kind": "campaign", "priority": "CRITICAL"}, Category.MARKETING, "critical"),
        ({"user_id": None, "user_ids": [f"u{n}" for n in range(101)]}, Category.ACTIVITY, "bulk"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_category_and_lane(given: dict[str, Any], category: int, lane: str) -> None:
    found = resolved(send(**given))
    assert (events(found)[0].category, found.lane) == (category, lane)


# -- parts


@pytest.mark.parametrize(
    ("people", "sizes"),
    [(1, [1]), (999, [999]), (1_000, [1_000]), (1_001, [1_000, 1]), (10_000, [1_000] * 10)],
)
def test_many_people_go_in_parts(people: int, sizes: list[int]) -> None:
    user_ids = [f"user{n}" for n in range(people)]
    found = resolved(send(user_id=None, user_ids=user_ids))
    parts = events(found)
    assert [len(part.user_ids) for part in parts] == sizes
    assert [user_id for part in parts for user_id in part.user_ids] == user_ids
    assert {part.notification_id for part in parts} == {found.notification_id}
    assert {part.recipient_count for part in parts} == {people}
    assert {part.content.SerializeToString() for part in parts} == {parts[0].content.SerializeToString()}


def test_the_largest_part_fits_a_message() -> None:
    user_ids = [f"{n:04}{'u' * 124}" for n in range(1_000)]
    request = send(user_id=None, user_ids=user_ids, data={"title": "x", "message": "y" * 8000})
    assert max(map(len, resolved(request).parts)) <= 256 << 10


# -- ids


def test_without_a_key_each_is_a_new_one() -> None:
    one, two = resolved(send()), resolved(send())
    assert one.notification_id != two.notification_id
    assert UUID(one.notification_id).version == 7
    assert one.request_hash == b""


def test_the_key_in_the_request_and_in_the_header_are_the_same_thing() -> None:
    in_request = resolved(send(idempotency_key="k"))
    in_header = resolved(send(), key="k")
    assert in_request.notification_id == in_header.notification_id
    assert in_request.notification_id == ids.keyed_notification("feed", "SendNotification", "k", 0)
    assert in_request.request_hash == in_header.request_hash != b""


def test_the_request_s_own_key_wins_and_place_and_method_count_no_more() -> None:
    found = {
        resolved(send(idempotency_key="k"), key=key, method=method, index=index).notification_id
        for key in ("", "other")
        for method in ("SendNotification", "SendBulkNotifications")
        for index in (0, 7)
    }
    assert len(found) == 1


def test_the_same_key_of_two_services_is_two_notifications() -> None:
    request = send(idempotency_key="k")
    one, two = resolved(request, sender="auth"), resolved(request, sender="feed")
    assert one.notification_id != two.notification_id


def test_another_sender_key_method_or_place_is_another_notification() -> None:
    given: list[dict[str, Any]] = [
        {"key": "k"},
        {"key": "k", "sender": "auth"},
        {"key": "l"},
        {"key": "k", "method": "SendBulkNotifications"},
        {"key": "k", "method": "SendBulkNotifications", "index": 1},
    ]
    assert len({resolved(send(), **one).notification_id for one in given}) == len(given)


# -- the hash of the body


def test_nobody_without_the_key_can_guess_what_a_hash_is_of() -> None:
    """A code of six digits is guessed in a moment, where one can tell that it was right."""
    request = send(data={"title": "Your code", "message": "493812"})
    one, other = (
        accept.resolve(request, "feed", "SendNotification", "k", 0, Key.fresh()).request_hash
        for _ in range(2)
    )
    assert one != other
    plain = request.SerializeToString(deterministic=True)
    assert hashlib.sha256(plain).digest() not in (one, other)
    (event,) = events(resolved(request, key="k"))
    assert hashlib.sha256(plain).digest() not in event.SerializeToString()


def test_the_same_body_written_another_way_has_the_same_hash() -> None:
    one, two = Struct(), Struct()
    keys = [f"key-{number}" for number in range(200)]
    one.update({key: {"x": 1, "y": 2} for key in keys})
    two.update({key: {"y": 2, "x": 1} for key in reversed(keys)})
    hashes = {
        resolved(send(data={"title": "x", "extra": extra}), key=key).request_hash
        for extra in (one, two)
        for key in ("k", "l")
    }
    assert len(hashes) == 1


def test_a_field_that_the_contract_does_not_know_changes_nothing() -> None:
    known = send()
    newer = SendNotificationRequest.FromString(known.SerializeToString() + b"\xfa\x3f\x03new")
    assert resolved(newer, key="k").request_hash == resolved(known, key="k").request_hash


@pytest.mark.parametrize(
    "given",
    [
        {"user_id": "user124"},
        {"user_id": None, "user_ids": ["user123"]},
        {"data": {"title": "Hi "}},
        {"data": {"title": "Hi", "message": "x"}},
        {"type": "PUSH"},
        {"channels": ["PUSH"]},
        {"kind": "like"},
        {"category": "SOCIAL"},
        {"priority": "BULK"},
        {"expires_at": Timestamp(seconds=4_000_000_000)},
        {"address": {"email": "a@b.org"}},
        {"address": {}},
        {"webhook_url": "https://hooks.example/"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_another_body_has_another_hash(given: dict[str, Any]) -> None:
    assert resolved(send(**given), key="k").request_hash != resolved(send(), key="k").request_hash


# -- what the protos cannot say


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"data": {"title": "x", "action_url": "/m/1", "image_url": "https://crown.example/x.png"}}, {}),
        ({"kind": "like"}, {}),
        (
            {"data": {"title": "x", "action_url": "/\\evil.com"}},
            {"data.action_url": "https on an allowed host"},
        ),
        (
            {"data": {"title": "x", "image_url": "/x.png"}},
            {"data.image_url": "must be https on an allowed host"},
        ),
        ({"kind": "coup"}, {"kind": "must be one of like, comment, "}),
        (
            {"data": {"message": "é" * 8000, "title": "x" * 200, "action_url": f"/{'x' * 400}"}},
            {"data": "16384 bytes"},
        ),
        ({"webhook_url": "https://hooks.example/a"}, {}),
        ({"webhook_url": "http://127.0.0.1:9000/a"}, {}),
        ({"webhook_url": "https://a.chat.example/"}, {"webhook_url": "hooks.example, 127.0.0.1:9000"}),
        ({"webhook_url": "http://hooks.example/a"}, {"webhook_url": "hooks.example, 127.0.0.1:9000"}),
        ({"webhook_url": "ftp://hooks.example"}, {"webhook_url": "https"}),
    ],
    ids=lambda value: str(value)[:50],
)
def test_links_kind_and_size(given: dict[str, Any], expected: dict[str, str]) -> None:
    found = {violation.field: violation.description for violation in accept.problems(send(**given), RULES)}
    assert set(found) == set(expected)
    for field, words in expected.items():
        assert words in found[field]


YEAR_S = 31_536_000
NOW_S = int(time.time())
GROUPS = {"user_id": None, "group_ids": ["g1"]}
EVERYONE = {"user_id": None, "everyone": True, "type": "IN_APP"}


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"user_id": None}, "user_id", "exactly one of user_id, user_ids, group_ids and everyone"),
        ({"user_ids": ["u1"]}, "user_id", "exactly one of"),
        ({"group_ids": ["g1"]}, "user_id", "exactly one of"),
        ({"everyone": True, "type": "IN_APP"}, "user_id", "exactly one of"),
        ({"user_id": None, "user_ids": [f"u{n}" for n in range(10_001)]}, "user_ids", "at most 10000"),
        ({"user_id": None, "user_ids": ["u1", "u1"]}, "user_ids", "unique"),
        ({"type": 9}, "type", "must be one of REAL_TIME"),
        ({"priority": 9}, "priority", "must be one of CRITICAL"),
        ({"category": 9}, "category", "must be one of ACTIVITY"),
        ({"data": {"title": "x" * 201}}, "data.title", "200"),
        ({"expires_at": Timestamp(seconds=1)}, "expires_at", "must be greater than now"),
        ({"send_at": Timestamp(seconds=NOW_S + 10 * YEAR_S)}, "send_at", "must be within"),
        ({"send_at": Timestamp(seconds=NOW_S - 2 * YEAR_S)}, "send_at", "must be within"),
        (
            {"send_at": Timestamp(seconds=NOW_S + 999), "expires_at": Timestamp(seconds=NOW_S + 998)},
            "expires_at",
            "must be after send_at",
        ),
        ({"local_time": "24:00"}, "local_time", "must be a time of day"),
        ({"local_time": "9:00"}, "local_time", "must be a time of day"),
        ({"user_id": None, "group_ids": [f"g{n}" for n in range(21)]}, "group_ids", "at most 20"),
        ({"user_id": None, "group_ids": ["g", "g"]}, "group_ids", "unique"),
        ({"user_id": None, "group_ids": ["a b"]}, "group_ids[0]", "must be 1 to 128"),
        ({"exclude_user_ids": ["u1"]}, "exclude_user_ids", "goes with group_ids only"),
        (
            {**GROUPS, "exclude_user_ids": [f"u{n}" for n in range(101)]},
            "exclude_user_ids",
            "at most 100",
        ),
        ({**EVERYONE, "type": "EMAIL"}, "everyone", "goes with the channels in_app and real_time only"),
        ({**EVERYONE, "type": None, "channels": ["IN_APP", "PUSH"]}, "everyone", "goes with"),
        ({**EVERYONE, "local_time": "09:00"}, "everyone", "without address, local_time"),
        ({**EVERYONE, "group_key": "k"}, "everyone", "and group_key"),
        ({"group_key": "k" * 129}, "group_key", "must be 1 to 128"),
        ({"group_key": "a b"}, "group_key", "must be 1 to 128"),
        ({"actor": {}}, "actor", "must have a user_id or a name"),
        (
            {"escalations": [{"channel": "SMS", "after": {"seconds": n}} for n in (600, 1_200)]},
            "escalations",
            "each channel once",
        ),
        (
            {"escalations": [{"channel": n, "after": {"seconds": 600}} for n in (1, 2, 3, 4)]},
            "escalations",
            "at most 3",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_each_bound_is_told_by_its_field(given: dict[str, Any], field: str, words: str) -> None:
    found = {
        violation.field: violation.description for violation in accept.all_problems(send(**given), RULES)
    }
    assert field in found
    assert words in found[field]


@pytest.mark.parametrize(
    "given",
    [
        {"send_at": Timestamp(seconds=NOW_S + YEAR_S - 60), "local_time": "00:00"},
        {"local_time": "23:59"},
        {"user_id": None, "group_ids": [f"g{n}" for n in range(20)]},
        {**GROUPS, "exclude_user_ids": [f"u{n}" for n in range(100)]},
        EVERYONE,
        {"group_key": "k" * 128, "actor": {"user_id": "ann"}},
        {"actor": {"name": "Ann"}},
        {"escalations": [{"channel": n, "after": {"seconds": 600}} for n in (2, 3, 4)]},
        {"user_id": None, "user_ids": [f"u{n}" for n in range(10_000)]},
    ],
    ids=lambda given: str(given)[:60],
)
def test_what_is_at_the_bound_is_fine(given: dict[str, Any]) -> None:
    assert accept.all_problems(send(**given), RULES) == []


def test_an_item_of_a_bulk_hears_of_everything_and_of_each_field_once() -> None:
    bad = send(user_id="a b", kind="Coup", data={"title": "x" * 201, "action_url": "javascript:alert(1)"})
    found = accept.all_problems(bad, RULES)
    assert sorted(violation.field for violation in found) == [
        "data.action_url",
        "data.title",
        "kind",
        "user_id",
    ]


# -- what a token is for


def beyond(request: SendNotificationRequest, *scopes: str, use: str = "service") -> str:
    """The scope that is missing; empty where none is."""
    refused = accept.beyond_scope(request, Principal(use, "feed", frozenset(scopes), 0))
    return refused.metadata["needs"].removeprefix("the scope notifications.send:") if refused else ""


SOCIAL = "notifications.send:social"
SECURITY = "notifications.send:security"


@pytest.mark.parametrize(
    ("given", "scopes", "missing"),
    [
        ({"kind": "login_alert"}, ["notifications.send"], ""),
        ({"kind": "login_alert"}, ["notifications.send", SOCIAL], ""),
        ({"kind": "like"}, [SOCIAL], "activity"),
        ({"kind": "friend_request"}, [SOCIAL], ""),
        ({"kind": "login_alert"}, [SOCIAL], "security"),
        ({"kind": "login_alert"}, [SOCIAL, SECURITY], ""),
        # The kind and the template speak for themselves, whatever category stands beside them.
        ({"kind": "login_alert", "category": Category.SOCIAL}, [SOCIAL], "security"),
        ({"kind": "friend_request", "category": Category.SECURITY}, [SOCIAL], "security"),
        ({"category": Category.SECURITY}, [SOCIAL], "security"),
        ({"category": Category.SOCIAL, "template_id": "login_alert"}, [SOCIAL], "security"),
        ({"category": Category.SOCIAL, "template_id": "ours"}, [SOCIAL], ""),
        ({"category": Category.SOCIAL}, [SOCIAL], ""),
        # Without kind and category it is everyday activity.
        ({}, [SOCIAL], "activity"),
        ({}, ["notifications.send:activity"], ""),
        ({}, ["notifications.send:"], "activity"),
        ({}, ["notifications.send:ACTIVITY"], "activity"),
        # What filters are not asked about, and wakes a device, is the right of one category.
        ({"kind": "follow", "priority": Priority.CRITICAL}, [SOCIAL], "security"),
        ({"kind": "follow", "priority": Priority.CRITICAL}, [SOCIAL, SECURITY], ""),
        ({"kind": "follow", "priority": Priority.CRITICAL}, ["notifications.send"], ""),
        ({"kind": "follow", "priority": Priority.NORMAL}, [SOCIAL], ""),
        ({"kind": "follow", "priority": Priority.BULK}, [SOCIAL], ""),
    ],
)
def test_a_token_for_some_categories_sends_no_other(
    given: dict[str, Any], scopes: list[str], missing: str
) -> None:
    assert beyond(send(**given), *scopes) == missing


def test_a_template_of_another_name_speaks_for_its_kind_too(monkeypatch: pytest.MonkeyPatch) -> None:
    alert = replace(catalogue.KINDS["login_alert"], template="alarm")
    monkeypatch.setattr(catalogue, "KINDS", {**catalogue.KINDS, "login_alert": alert})
    for name in ("alarm", "login_alert"):
        assert beyond(send(kind="follow", template_id=name), SOCIAL) == "security"
    assert beyond(send(kind="follow"), SOCIAL) == ""


def test_operators_send_any_category() -> None:
    assert beyond(send(kind="login_alert"), use="operator") == ""
