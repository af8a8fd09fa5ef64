"""The cursor of the history, a place that survives the way to a caller and back; and what is listed."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown import ids, vault
from crown.errors import InvalidRequest
from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from crown.notification.v1.types_pb2 import Category
from crown.unread import unread
from services.ingest.inbox.cursor import after, cursor
from services.ingest.inbox.listing import listed
from services.ingest.intake.accept import group_hash

MOMENTS = (
    st.integers(0, 10**13)
    .map(lambda millis: datetime.fromtimestamp(millis / 1000, UTC))
    .map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))
)


def row(moment: datetime, notification_id: str) -> dict[str, Any]:
    return {"create_time": moment, "notification_id": notification_id}


def is_after(place: dict[str, Any], where: dict[str, Any]) -> bool:
    """Whether the filter of a cursor takes a row, as MongoDB would say."""
    (before,) = where["$nor"]
    if place["create_time"] > where["create_time"]["$lte"]:
        return False
    return not (
        place["create_time"] == before["create_time"]
        and place["notification_id"] >= before["notification_id"]["$gte"]
    )


@given(MOMENTS, MOMENTS, st.uuids(), st.uuids())
def test_a_cursor_goes_on_right_after_its_row(one: datetime, other: datetime, a: Any, b: Any) -> None:
    here, there = row(one, str(a)), row(other, str(b))
    where = after(cursor(here))
    assert not is_after(here, where)
    newest_first = sorted([here, there], key=lambda r: (r["create_time"], r["notification_id"]), reverse=True)
    assert is_after(there, where) == (newest_first[0] is here and there != here)


def test_a_cursor_is_plain_enough_for_a_url() -> None:
    place = cursor(row(datetime.now(UTC), ids.fresh_notification()))
    assert place.replace("=", "").replace("-", "").replace("_", "").isalnum()
    assert len(place) < 100


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "place",
    [
        "x",
        "=",
        "é",
        "AAAA",
        encoded(""),
        encoded(":"),
        encoded("x:y"),
        encoded("1"),
        encoded("1.5:a"),
        encoded("9" * 40 + ":a"),
        encoded("-" + "9" * 40 + ":a"),
        encoded(f"{10**17}:a"),
        encoded("nan:a"),
        base64.urlsafe_b64encode(b"\xff\xfe:a").decode(),
        "A" * 511,
    ],
)
def test_a_made_up_cursor_is_refused(place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        after(place)
    assert [violation.field for violation in caught.value.violations] == ["cursor"]


def test_a_cursor_holds_milliseconds_as_the_store_does() -> None:
    moment = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
    where = after(cursor(row(moment, "n")))
    assert where["create_time"]["$lte"] == moment
    assert is_after(row(moment - timedelta(milliseconds=1), "z"), where)


KEY = vault.Key.fresh()


def asked(**given: Any) -> dict[str, Any]:
    return listed(ListNotificationsRequest(user_id="a", **given), KEY)


def test_what_is_listed() -> None:
    assert asked() == asked(view="INBOX") == {"user_id": "a", "shelf": None, "hidden": None}
    assert asked(view="ARCHIVED")["shelf"] == "archived"
    assert asked(view="ALL")["shelf"] == {"$in": [None, "archived"]}
    # The same filter that the count has, so that both say the same.
    assert asked(unread_only=True).items() >= unread("a").items()
    assert asked(category="SOCIAL")["category"] == Category.SOCIAL
    # As the row has it.
    assert asked(group_key="post:1")["group"] == group_hash(KEY, "post:1")
