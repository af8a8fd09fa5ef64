"""What a push message says, on each platform."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from crown.notification.v1.types_pb2 import Category, DeviceKind
from crown.outcome import Discard
from crown.provider import Attempt
from crown.recipients import Destination
from crown.rendering import Links
from services.push.message import addressed, collapse_id, compose

Make = Callable[..., Attempt]
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def composed(attempt: Attempt, links: Links) -> dict[str, Any]:
    payload = compose(attempt, links, NOW)
    assert isinstance(payload, dict)
    return payload


def test_a_message(attempt: Make, links: Links) -> None:
    extra = Struct()
    extra.update({"thread": {"id": 7}})
    payload = composed(attempt("t", image_url="https://crown.example/a.png", extra=extra), links)
    tag = collapse_id("n-1")
    assert payload == {
        "data": {
            "notification_id": "n-1",
            "delivery_id": "d" * 32,
            "kind": "message",
            "action_url": "/m/1",
            "extra": '{"thread":{"id":7.0}}',
        },
        "notification": {
            "title": "New message",
            "body": "You have a new message from John",
            "image": "https://crown.example/a.png",
        },
        "android": {"priority": "high", "notification": {"tag": tag}},
        "apns": {"headers": {"apns-collapse-id": tag}},
        "webpush": {"notification": {"tag": tag}, "fcm_options": {"link": "https://crown.example/m/1"}},
    }


def test_the_collapse_id_is_that_of_the_notification() -> None:
    assert collapse_id("n-1") == collapse_id("n-1") != collapse_id("n-2")
    assert len(collapse_id("x" * 4_000).encode()) <= 64


def test_what_is_empty_is_left_out(attempt: Make, links: Links) -> None:
    payload = composed(attempt("t", title="", action_url="", kind=""), links)
    assert payload["data"] == {"notification_id": "n-1", "delivery_id": "d" * 32}
    assert payload["notification"] == {"body": "You have a new message from John"}
    assert "fcm_options" not in payload["webpush"]


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//evil.example", "https://evil.example/", "/\\evil.example"]
)
def test_an_unsafe_link_goes_nowhere(attempt: Make, links: Links, url: str) -> None:
    payload = composed(attempt("t", action_url=url, image_url=url), links)
    assert url not in json.dumps(payload)


def test_a_link_to_a_machine_without_tls_is_left_to_the_app(attempt: Make) -> None:
    payload = composed(attempt("t"), Links("http://127.0.0.1:3000", ("127.0.0.1",)))
    assert payload["data"]["action_url"] == "/m/1"
    assert "fcm_options" not in payload["webpush"]


def test_marketing_wakes_nobody(attempt: Make, links: Links) -> None:
    assert composed(attempt("t", category=Category.MARKETING), links)["android"]["priority"] == "normal"


@pytest.mark.parametrize(
    ("left", "seconds"),
    [(timedelta(minutes=5), 300), (timedelta(seconds=-1), 0), (timedelta(days=90), 28 * 86_400)],
)
def test_it_is_not_kept_past_its_time(attempt: Make, links: Links, left: timedelta, seconds: int) -> None:
    payload = composed(attempt("t", expire_time=NOW + left), links)
    assert payload["android"]["ttl"] == f"{seconds}s"
    assert payload["webpush"]["headers"] == {"TTL": str(seconds)}
    assert payload["apns"]["headers"]["apns-expiration"] == str(int((NOW + left).timestamp()))


def test_a_message_of_4_kb_goes_and_one_more_byte_does_not(attempt: Make, links: Links) -> None:
    def sized(count: int) -> object:
        return compose(attempt("t", message="x" * count), links, NOW)

    room = next(n for n in range(4_096, 0, -1) if isinstance(sized(n), dict))
    assert isinstance(sized(room), dict)
    assert sized(room + 1) == Discard("PAYLOAD_TOO_LARGE", "4097 bytes")
    assert isinstance(compose(attempt("t", message="ü" * room), links, NOW), Discard)


@pytest.mark.parametrize(
    ("kind", "field"),
    [(DeviceKind.TOKEN, "token"), (DeviceKind.FID, "fid"), (DeviceKind.KIND_UNSPECIFIED, "token")],
)
def test_the_kind_of_a_device_names_the_target(
    attempt: Make, links: Links, kind: DeviceKind.Type.ValueType, field: str
) -> None:
    body = json.loads(addressed(composed(attempt("t"), links), Destination("d1", "abc", kind)))
    assert body["message"][field] == "abc"
    assert {"token", "fid"} & set(body["message"]) == {field}
