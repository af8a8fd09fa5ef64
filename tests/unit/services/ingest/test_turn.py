"""What events come to: entries, moves of the ledger, and words to senders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crown.clock import timestamp
from crown.ledger import row_id
from crown.notification.v1.events_pb2 import CallbackEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import CallbackType, Channel, DeliveryState, Priority
from crown.store import Document
from services.ingest.books import turn
from services.ingest.books.events import Decided, Event
from services.ingest.books.facts import Facts

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
ROW = row_id("n1", "ann")


def facts(state: str, *, hooked: bool = True, **given: Any) -> Facts:
    """One person's e-mail, which has this state."""
    delivery = {"id": "d1", "state": DeliveryState.Type.Value(state), **given}
    row: Document = {
        "_id": ROW,
        "notification_id": "n1",
        "user_id": "ann",
        "lane": Priority.BULK,
        "deliveries": {"email": delivery},
    }
    return Facts({ROW: row}, {"c1": ROW, "c2": ROW}, frozenset({"n1"} if hooked else ()))


def outcome(state: str, **given: Any) -> OutcomeEvent:
    fields: dict[str, Any] = {
        "delivery_id": "d1",
        "notification_id": "n1",
        "user_id": "ann",
        "channel": Channel.EMAIL,
        "state": DeliveryState.Type.Value(state),
        "attempt": 1,
        "occur_time": timestamp(AT),
    }
    return OutcomeEvent(**{**fields, **given})


def callback(kind: CallbackType.Type.ValueType, callback_id: str = "c1") -> CallbackEvent:
    time = timestamp(AT + timedelta(minutes=1))
    return CallbackEvent(
        callback_id=callback_id,
        delivery_id="d1",
        channel=Channel.EMAIL,
        provider="sendgrid",
        type=kind,
        occur_time=time,
        receive_time=time,
    )


def words(made: turn.Turn) -> list[str]:
    return [DeliveryState.Type.Name(word.state) for word in made.words]


def test_an_end_is_written_down_and_told() -> None:
    made = turn.take([outcome("DELIVERED_TO_PROVIDER")], facts("DELIVERED_TO_PROVIDER"), AT)
    assert list(made.entries) == [f"d1:1:{DeliveryState.DELIVERED_TO_PROVIDER}"]
    (word,) = made.words
    assert (word.delivery_id, word.user_id, word.lane, word.time) == ("d1", "ann", Priority.BULK, AT)
    assert made.updates(AT) == []


def test_who_wants_to_hear_nothing_hears_nothing() -> None:
    made = turn.take([outcome("FAILED")], facts("FAILED", hooked=False), AT)
    assert (words(made), len(made.entries)) == ([], 1)


def test_a_retry_is_written_down_and_not_told() -> None:
    made = turn.take([outcome("RETRYING")], facts("RETRYING"), AT)
    assert (words(made), len(made.entries)) == ([], 1)


def test_what_a_callback_has_overtaken_is_not_told() -> None:
    made = turn.take([outcome("UNKNOWN")], facts("DELIVERED"), AT)
    assert (words(made), len(made.entries)) == ([], 1)


@pytest.mark.parametrize("state", ["DELIVERED", "BOUNCED", "READ"])
def test_what_an_engine_repeats_is_no_attempt(state: str) -> None:
    made = turn.take([outcome(state)], facts(state), AT)
    assert (words(made), made.entries) == ([], {})


def test_what_dispatch_ended_is_told_and_no_attempt() -> None:
    made = turn.take([Decided(outcome("SUPPRESSED", attempt=0))], facts("SUPPRESSED"), AT)
    assert (words(made), made.entries) == (["SUPPRESSED"], {})


def test_each_step_is_told_and_the_last_is_written() -> None:
    events: list[Event] = [
        outcome("DELIVERED_TO_PROVIDER"),
        callback(CallbackType.DELIVERED),
        callback(CallbackType.OPENED, "c2"),
        callback(CallbackType.OPENED, "c2"),
    ]
    made = turn.take(events, facts("DELIVERED_TO_PROVIDER"), AT)
    assert words(made) == ["DELIVERED_TO_PROVIDER", "DELIVERED", "READ"]
    assert len(made.entries) == 3
    assert [standing.state for standing in made.after.values()] == [DeliveryState.READ]
    assert len(made.updates(AT)) == 2


def test_what_stood_in_the_dead_letters_is_settled() -> None:
    assert turn.take([callback(CallbackType.DELIVERED)], facts("UNKNOWN"), AT).settled == ["d1"]
    assert turn.take([callback(CallbackType.DEFERRED)], facts("UNKNOWN"), AT).settled == []
    assert turn.take([callback(CallbackType.DELIVERED)], facts("PENDING"), AT).settled == []


def test_a_webhook_is_not_told_about_and_may_be_the_last() -> None:
    event = outcome("FAILED", channel=Channel.WEBHOOK, reason="GONE: 410")
    made = turn.take([event], facts("FAILED"), AT)
    assert (words(made), made.gone, len(made.entries)) == ([], {"n1"}, 1)


def test_a_callback_about_somebody_else_s_delivery_changes_nothing() -> None:
    event = callback(CallbackType.DELIVERED)
    event.delivery_id = "d2"
    made = turn.take([event], facts("PENDING"), AT)
    assert (made.entries, made.after, words(made)) == ({}, {}, [])
