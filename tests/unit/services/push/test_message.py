"""What a push says, whoever carries it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from crown.notification.v1.types_pb2 import Category, Priority
from crown.provider import Attempt
from crown.rendering import Links
from services.push.message import Urgency, collapse_id, compose

Make = Callable[..., Attempt]
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def struct(given: dict[str, Any]) -> Struct:
    found = Struct()
    found.update(given)
    return found


def test_a_message(attempt: Make, links: Links) -> None:
    found = compose(attempt("t", image_url="https://crown.example/a.png"), links, NOW, badge=3)
    assert found.data == {
        "notification_id": "n-1",
        "delivery_id": "d" * 32,
        "kind": "message",
        "action_url": "/m/1",
        "badge": "3",
    }
    assert found.title == "New message"
    assert (found.link, found.image) == ("https://crown.example/m/1", "https://crown.example/a.png")


def test_what_is_empty_is_left_out(attempt: Make, links: Links) -> None:
    found = compose(attempt("t", title="", action_url="", kind=""), links, NOW)
    assert found.texts == {"notification_id": "n-1", "delivery_id": "d" * 32}
    assert found.badge is None
    assert compose(attempt("t"), links, NOW, badge=0).data["badge"] == "0"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//evil.example", "https://evil.example/", "/\\evil.example"]
)
def test_an_unsafe_link_goes_nowhere(attempt: Make, links: Links, url: str) -> None:
    found = compose(attempt("t", action_url=url, image_url=url), links, NOW)
    assert url not in str(found)


def test_extra_becomes_texts(attempt: Make, links: Links) -> None:
    extra = struct(
        {
            "thread": {"id": 7, "by": {"name": "Ann"}, "empty": {}},
            "share": 0.5,
            "tags": ["a", 1, None],
            "open": True,
            "none": None,
            "large": 1e300,
        }
    )
    found = compose(attempt("t", extra=extra), links, NOW)
    texts = {name: text for name, text in found.texts.items() if name not in found.data}
    assert texts == {
        "thread.id": "7",
        "thread.by.name": "Ann",
        "share": "0.5",
        "tags": '["a",1,null]',
        "open": "true",
        "none": "null",
        "large": "1e300",
    }
    assert found.extra["thread"] == {"id": 7, "by": {"name": "Ann"}, "empty": {}}


@pytest.mark.parametrize(
    "name", ["from", "message_type", "google.sent_time", "gcm.notification.x", "gcm.", "kind", "badge", ""]
)
def test_a_name_that_is_taken_moves_aside(attempt: Make, links: Links, name: str) -> None:
    found = compose(attempt("t", extra=struct({name: "hers"})), links, NOW, badge=1)
    assert found.texts[f"extra.{name}"] == "hers"
    assert found.texts.get(name) == found.data.get(name) != "hers"


def test_a_nested_name_is_not_taken(attempt: Make, links: Links) -> None:
    found = compose(attempt("t", extra=struct({"a": {"from": "x"}, "google": {"y": "z"}})), links, NOW)
    assert found.texts["a.from"] == "x"
    # Flat, it would be a name of Google's.
    assert found.texts["extra.google.y"] == "z"


def test_the_collapse_id_is_that_of_the_notification(attempt: Make, links: Links) -> None:
    first, again = (compose(attempt("t", number=n), links, NOW) for n in (1, 2))
    assert first.collapse_id == again.collapse_id
    assert compose(attempt("t", notification_id="n-2"), links, NOW).collapse_id != first.collapse_id
    assert not first.collapses


def test_or_the_one_that_was_given(attempt: Make, links: Links) -> None:
    one, other = (
        compose(attempt("t", notification_id=id, collapse_key="score"), links, NOW) for id in ("n-1", "n-2")
    )
    assert one.collapse_id == other.collapse_id == collapse_id("score")
    assert one.collapses


@pytest.mark.parametrize("text", ["", "x", "ü" * 300, "x" * 4_000])
def test_a_collapse_id_fits_everywhere(text: str) -> None:
    found = collapse_id(text)
    assert len(found) == 32
    assert set(found) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("given", "urgency"),
    [
        ({"category": Category.SOCIAL}, Urgency.NORMAL),
        ({"category": Category.SECURITY}, Urgency.HIGH),
        ({"category": Category.SYSTEM, "priority": Priority.CRITICAL}, Urgency.HIGH),
        ({"category": Category.SOCIAL, "priority": Priority.BULK}, Urgency.NORMAL),
        ({"category": Category.MARKETING}, Urgency.LOW),
        ({"category": Category.MARKETING, "priority": Priority.CRITICAL}, Urgency.HIGH),
    ],
)
def test_urgency(attempt: Make, links: Links, given: dict[str, Any], urgency: Urgency) -> None:
    assert compose(attempt("t", **given), links, NOW).urgency == urgency


@pytest.mark.parametrize(
    ("left", "ttl"),
    [
        (timedelta(minutes=5), timedelta(minutes=5)),
        (timedelta(seconds=-1), timedelta()),
        (timedelta(days=90), timedelta(weeks=4)),
    ],
)
def test_it_is_not_kept_past_its_time(attempt: Make, links: Links, left: timedelta, ttl: timedelta) -> None:
    assert compose(attempt("t", expire_time=NOW + left), links, NOW).ttl == ttl
