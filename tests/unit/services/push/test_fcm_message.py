"""What Firebase gets, on each platform."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from firebase_admin import messaging
from google.protobuf.struct_pb2 import Struct

from crown.notification.v1.types_pb2 import Category, DeviceKind
from crown.outcome import Discard
from crown.provider import Attempt
from crown.recipients import Destination
from crown.rendering import Links
from services.push.fcm.message import Payload, payload
from services.push.message import collapse_id, compose

Make = Callable[..., Attempt]
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def sent(attempt: Attempt, links: Links, badge: int | None = None) -> dict[str, Any]:
    """The message as it leaves, without its target."""
    found = payload(compose(attempt, links, NOW, badge))
    assert isinstance(found, Payload)
    message: dict[str, Any] = json.loads(found.addressed(Destination("d1", "t")))["message"]
    del message["token"]
    return message


def test_a_message(attempt: Make, links: Links) -> None:
    tag = collapse_id("n-1")
    assert sent(attempt("t"), links) == {
        "data": {
            "notification_id": "n-1",
            "delivery_id": "d" * 32,
            "kind": "message",
            "action_url": "/m/1",
        },
        "notification": {"title": "New message", "body": "You have a new message from John"},
        "android": {"priority": "high", "notification": {"tag": tag}},
        "apns": {"headers": {"apns-collapse-id": tag}},
        "webpush": {
            "headers": {"Urgency": "normal"},
            "notification": {"tag": tag},
            "fcm_options": {"link": "https://crown.example/m/1"},
        },
    }


def test_the_badge(attempt: Make, links: Links) -> None:
    found = sent(attempt("t"), links, badge=7)
    assert found["apns"]["payload"] == {"aps": {"badge": 7}}
    assert found["android"]["notification"]["notification_count"] == 7
    assert found["data"]["badge"] == "7"
    # iOS takes the number away at 0; Android counts by itself.
    none = sent(attempt("t"), links, badge=0)
    assert none["apns"]["payload"] == {"aps": {"badge": 0}}
    assert "notification_count" not in none["android"]["notification"]


def test_a_picture(attempt: Make, links: Links) -> None:
    found = sent(attempt("t", image_url="https://crown.example/a.png"), links)
    assert found["notification"]["image"] == "https://crown.example/a.png"
    assert found["apns"]["fcm_options"] == {"image": "https://crown.example/a.png"}
    assert found["apns"]["payload"] == {"aps": {"mutable-content": 1}}


def test_a_link_to_a_machine_without_tls_is_left_to_the_app(attempt: Make) -> None:
    found = sent(attempt("t"), Links("http://127.0.0.1:3000", ("127.0.0.1",)))
    assert found["data"]["action_url"] == "/m/1"
    assert "fcm_options" not in found["webpush"]


def test_marketing_wakes_nobody(attempt: Make, links: Links) -> None:
    found = sent(attempt("t", category=Category.MARKETING), links)
    assert found["android"]["priority"] == "normal"
    assert found["apns"]["headers"]["apns-priority"] == "5"
    assert found["webpush"]["headers"]["Urgency"] == "low"


def test_what_is_urgent_says_so(attempt: Make, links: Links) -> None:
    found = sent(attempt("t", category=Category.SECURITY), links)
    assert found["android"]["priority"] == "high"
    assert found["webpush"]["headers"]["Urgency"] == "high"


def test_it_is_not_kept_past_its_time(attempt: Make, links: Links) -> None:
    left = timedelta(minutes=5)
    found = sent(attempt("t", expire_time=NOW + left), links)
    assert found["android"]["ttl"] == "300s"
    assert found["webpush"]["headers"]["TTL"] == "300"
    assert found["apns"]["headers"]["apns-expiration"] == str(int((NOW + left).timestamp()))


def test_one_that_collapses(attempt: Make, links: Links) -> None:
    key = collapse_id("score")
    found = sent(attempt("t", collapse_key="score"), links)
    assert found["android"]["collapse_key"] == found["android"]["notification"]["tag"] == key
    assert found["apns"]["headers"]["apns-collapse-id"] == key


@pytest.mark.parametrize(
    ("kind", "field"),
    [(DeviceKind.TOKEN, "token"), (DeviceKind.FID, "fid"), (DeviceKind.KIND_UNSPECIFIED, "token")],
)
def test_the_kind_of_a_device_names_the_target(
    attempt: Make, links: Links, kind: DeviceKind.Type.ValueType, field: str
) -> None:
    found = payload(compose(attempt("t"), links, NOW))
    assert isinstance(found, Payload)
    message = json.loads(found.addressed(Destination("d1", 'a"b\\c', kind)))["message"]
    assert message[field] == 'a"b\\c'
    assert {"token", "fid"} & set(message) == {field}


def by_the_sdk(sent: dict[str, Any]) -> dict[str, Any]:
    """What Firebase's own classes make of the same, or refuse."""
    android, apns, web = sent["android"], sent["apns"], sent["webpush"]
    aps = apns.get("payload", {}).get("aps", {})
    image = apns.get("fcm_options", {}).get("image")
    link = web.get("fcm_options", {}).get("link")
    told = sent["notification"]
    message = messaging.Message(
        data=sent["data"],
        notification=messaging.Notification(told.get("title"), told.get("body"), told.get("image")),
        android=messaging.AndroidConfig(
            collapse_key=android.get("collapse_key"),
            priority=android["priority"],
            ttl=timedelta(seconds=int(android["ttl"][:-1])) if "ttl" in android else None,
            notification=messaging.AndroidNotification(
                tag=android["notification"]["tag"],
                notification_count=android["notification"].get("notification_count"),
            ),
        ),
        apns=messaging.APNSConfig(
            headers=apns["headers"],
            payload=messaging.APNSPayload(
                messaging.Aps(
                    badge=aps.get("badge"), mutable_content=True if "mutable-content" in aps else None
                )
            )
            if aps
            else None,
            fcm_options=messaging.APNSFCMOptions(image=image) if image else None,
        ),
        webpush=messaging.WebpushConfig(
            headers=web["headers"],
            notification=messaging.WebpushNotification(tag=web["notification"]["tag"]),
            fcm_options=messaging.WebpushFCMOptions(link) if link else None,
        ),
    )
    message.token = "t"
    found: dict[str, Any] = messaging._MessagingService.encode_message(message)
    del found["token"]
    return found


@pytest.mark.parametrize("badge", [None, 0, 7])
@pytest.mark.parametrize("category", [Category.SOCIAL, Category.MARKETING])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"image_url": "https://crown.example/a.png"},
        {"title": "", "action_url": "", "kind": ""},
        {"message": "", "collapse_key": "score"},
        {"expire_time": NOW + timedelta(hours=1)},
        {"expire_time": NOW - timedelta(hours=1)},
        {"expire_time": NOW + timedelta(days=90, microseconds=7)},
    ],
)
def test_firebases_own_classes_make_the_same(
    attempt: Make, links: Links, given: dict[str, Any], badge: int | None, category: Category.Type.ValueType
) -> None:
    found = sent(attempt("t", category=category, **given), links, badge)
    assert found == by_the_sdk(found)


def largest(message: dict[str, Any]) -> int:
    """What the largest part weighs, by the rule in FCM's documents."""
    parts = [message["android"]["notification"], message["webpush"]["notification"]]
    both = message["data"], message["notification"]
    return max(
        len(json.dumps([*both, part], separators=(",", ":"), ensure_ascii=False).encode()) for part in parts
    )


@pytest.mark.parametrize("text", ["x" * 8_000, "ü" * 8_000, "\n" * 40 + '"\\' * 4_000, "👩‍👩‍👧" * 1_600])
def test_a_long_text_is_cut_to_fit(attempt: Make, links: Links, text: str) -> None:
    found = sent(attempt("t", message=text), links)
    assert found["notification"]["body"].endswith("…")
    assert 4_000 < largest(found) <= 4_096


def test_what_fits_is_not_cut(attempt: Make, links: Links) -> None:
    room = max(
        n
        for n in range(3_000, 4_096)
        if not sent(attempt("t", message="x" * n), links)["notification"]["body"].endswith("…")
    )
    found = sent(attempt("t", message="x" * room), links)
    assert largest(found) > 4_080
    assert found["notification"]["body"] == "x" * room


def test_what_the_app_finds_in_it_is_never_cut(attempt: Make, links: Links) -> None:
    extra = Struct()
    extra.update({"x": "x" * 4_000})
    found = payload(compose(attempt("t", extra=extra), links, NOW))
    assert isinstance(found, Discard)
    assert found.reason == "PAYLOAD_TOO_LARGE"
    size, _, most = found.error.partition(" bytes, of which ")
    assert 4_200 < int(size) < 4_400
    assert most == "4096 are allowed"


def test_data_and_text_share_the_room(attempt: Make, links: Links) -> None:
    extra = Struct()
    extra.update({"x": "x" * 3_000})
    found = sent(attempt("t", message="y" * 8_000, extra=extra), links)
    assert found["data"]["x"] == "x" * 3_000
    assert 4_000 < largest(found) <= 4_096
