"""What the engine publishes about a delivery."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from crown import notices
from crown.ledger import Change
from crown.notification.v1.events_pb2 import DeadLetter, DeliveryEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState, Priority

EVENT = DeliveryEvent(
    delivery_id="d1", notification_id="n1", user_id="a.>", channel=Channel.SMS, priority=Priority.BULK
)
NOW = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
# As it came from the stream; only its place counts.
MESSAGE: Any = SimpleNamespace(stream="DELIVERY_bulk", sequence=7, data=b"\xff" * (100 << 10))


def change(**given: Any) -> Change:
    return Change(EVENT, **{"state": DeliveryState.FAILED, **given})


@pytest.mark.parametrize(
    ("due", "header"),
    [
        (NOW, "@at 2026-11-22T12:00:00.123Z"),
        (NOW.replace(microsecond=0), "@at 2026-11-22T12:00:00.000Z"),
        (NOW + timedelta(seconds=1.5), "@at 2026-11-22T12:00:01.623Z"),
    ],
)
def test_the_next_attempt_is_scheduled(due: datetime, header: str) -> None:
    found = notices.retry("sms", change(state=DeliveryState.RETRYING, due_time=due))
    assert found.subject == "crown.retry.sms.d1"
    assert found.headers == {"Nats-Schedule": header, "Nats-Schedule-Target": "crown.due.sms.bulk"}
    assert DeliveryEvent.FromString(found.data) == EVENT


def test_neither_address_nor_content_rides_the_bus() -> None:
    assert {field.name for field in DeliveryEvent.DESCRIPTOR.fields} == {
        "delivery_id",
        "notification_id",
        "user_id",
        "channel",
        "priority",
        "needs_version",
    }


def test_what_became_of_it() -> None:
    given = change(
        attempts=2, claims=3, reason="why", provider="twilio", provider_message_id="m", detail="20429"
    )
    found = notices.outcome("sms", given)
    told = OutcomeEvent.FromString(found.data)
    assert found.subject == "crown.event.outcome.sms"
    assert (told.delivery_id, told.notification_id, told.user_id) == ("d1", "n1", "a.>")
    assert (told.state, told.reason, told.attempt) == (DeliveryState.FAILED, "why", 3)
    assert (told.provider, told.provider_message_id, told.detail) == ("twilio", "m", "20429")
    assert not told.HasField("due_time")
    later = notices.outcome("sms", change(state=DeliveryState.RETRYING, due_time=NOW))
    assert OutcomeEvent.FromString(later.data).due_time.ToDatetime(tzinfo=UTC) == NOW
    assert told.occur_time.ToSeconds() > 0
    assert found.headers is not None
    assert "traceparent" in found.headers


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("INVALID_NUMBER: 21211", "PROVIDER_TERMINAL"),
        ("REFUSED", "PROVIDER_TERMINAL"),
        ("TEMPLATE_FAILED: order v2 en html:1", "TEMPLATE_FAILED"),
        ("TEMPLATE_NOT_FOUND: order", "TEMPLATE_NOT_FOUND"),
        ("RETRIES_EXHAUSTED: E1", "RETRIES_EXHAUSTED"),
        ("OUTCOME_UNKNOWN: TIMEOUT", "OUTCOME_UNKNOWN"),
        ("POISON_KILLED_WORKER", "POISON_KILLED_WORKER"),
    ],
)
def test_a_dead_letter_says_why(reason: str, word: str) -> None:
    given = change(reason=reason, attempts=12, claims=13, provider="twilio")
    found = notices.dead("sms", given, MESSAGE)
    letter = DeadLetter.FromString(found.data)
    assert found.subject == "crown.dead.sms"
    assert (letter.reason, letter.error, letter.attempts) == (word, reason, 12)
    assert (letter.claims, letter.provider) == (13, "twilio")
    assert (letter.delivery, letter.body) == (EVENT, b"")
    assert (letter.stream, letter.sequence) == ("DELIVERY_bulk", 7)


def test_the_same_letter_written_again_is_one() -> None:
    def id_of(sequence: int, **given: Any) -> str:
        message: Any = SimpleNamespace(stream="RETRY", sequence=sequence)
        headers = notices.dead("sms", change(**given), message).headers
        assert headers is not None
        return headers["Nats-Msg-Id"]

    # Two messages may carry the same delivery: after a crash of dispatch, or by the sweeper.
    assert id_of(7, claims=2) == id_of(8, claims=2)
    assert id_of(7, claims=2) != id_of(7, claims=3)


def test_a_message_that_nobody_can_read_is_kept_as_it_came() -> None:
    found = notices.unreadable("sms", MESSAGE)
    letter = DeadLetter.FromString(found.data)
    assert letter.reason == "UNDECODABLE"
    assert letter.body == MESSAGE.data[: 64 << 10]
    assert not letter.HasField("delivery")
    assert found.headers == {"Nats-Msg-Id": "DELIVERY_bulk:7"}
