"""How a filter of the contract finds dead letters, and the places that pages go on from."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from crown.clock import timestamp
from crown.errors import InvalidRequest
from crown.notification.v1.dead_letter_service_pb2 import DeadLetterFilter
from crown.notification.v1.types_pb2 import Category, Channel, DeadLetterState
from services.ingest.dead import letter
from services.ingest.dead.letter import matching

AT = datetime(2026, 11, 25, 12, 0, 0, 123_000, tzinfo=UTC)
OPEN = {"state": DeadLetterState.OPEN}


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({}, OPEN),
        ({"state": DeadLetterState.REPLAYED}, {"state": DeadLetterState.REPLAYED}),
        ({"channel": Channel.SMS}, {**OPEN, "channel": Channel.SMS}),
        ({"category": Category.SECURITY}, {**OPEN, "category": Category.SECURITY}),
        (
            {"reason": "OUTCOME_UNKNOWN", "provider": "sns"},
            {**OPEN, "reason": "OUTCOME_UNKNOWN", "provider": "sns"},
        ),
        ({"kind": "like", "sender": "feed"}, {**OPEN, "kind": "like", "sender": "feed"}),
        ({"user_id": "a", "notification_id": "n"}, {**OPEN, "user_id": "a", "notification_id": "n"}),
        ({"since": timestamp(AT)}, {**OPEN, "create_time": {"$gte": AT}}),
        (
            {"since": timestamp(AT), "until": timestamp(AT)},
            {**OPEN, "create_time": {"$gte": AT, "$lt": AT}},
        ),
    ],
)
def test_what_a_filter_means(asked: dict[str, Any], where: dict[str, Any]) -> None:
    assert matching(DeadLetterFilter(**asked)) == where


def test_every_field_of_a_filter_means_something() -> None:
    """One that is added to the contract and forgotten here would list, and replay, everything."""
    for field in DeadLetterFilter.DESCRIPTOR.fields:
        asked = DeadLetterFilter()
        if field.message_type:
            getattr(asked, field.name).CopyFrom(timestamp(AT))
        elif field.enum_type:
            setattr(asked, field.name, 2)
        else:
            setattr(asked, field.name, "x")
        assert matching(asked) != OPEN, field.name


@pytest.mark.parametrize("seconds", [10**15, -(10**15)])
def test_a_time_that_there_is_not_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        matching(DeadLetterFilter(until=Timestamp(seconds=seconds)))
    assert [violation.field for violation in caught.value.violations] == ["filter.until"]


MOMENTS = st.integers(-(10**12), 10**13).map(
    lambda millis: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)
)
IDS = st.from_regex(r"[A-Za-z0-9:._-]{1,200}", fullmatch=True)


@given(MOMENTS, IDS)
def test_a_cursor_names_its_letter(moment: datetime, letter_id: str) -> None:
    cursor = letter.cursor({"create_time": moment, "_id": letter_id})
    assert len(cursor) <= 512
    before, same = letter.older(cursor)["$or"]
    assert before == {"create_time": {"$lt": moment}}
    assert same == {"create_time": moment, "_id": {"$lt": letter_id}}


@pytest.mark.parametrize(
    "text", ["", "letter", "letter 1", "letter x y", "letter 1 a b", f"letter {10**30} a", "other 1 a"]
)
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        letter.older(base64.urlsafe_b64encode(text.encode()).decode())
    assert [violation.field for violation in caught.value.violations] == ["cursor"]
