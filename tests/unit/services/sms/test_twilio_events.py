"""What Twilio tells later, row by row."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from crown.clock import timestamp
from crown.notification.v1.types_pb2 import CallbackType, Channel
from services.sms.told import Told
from services.sms.twilio import events as twilio_events

HEARD = datetime(2026, 11, 25, 12, tzinfo=UTC)
SID = "SM" + "0" * 32
DELIVERY, NOTIFICATION = "d" * 32, "0191d6f1-0000-7000-8000-000000000000"


def read(**form: str) -> Told | None:
    return twilio_events.read({"MessageSid": SID, **form}, NOTIFICATION, DELIVERY, HEARD)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("accepted", CallbackType.ACCEPTED),
        ("scheduled", CallbackType.ACCEPTED),
        ("queued", CallbackType.ACCEPTED),
        ("sending", CallbackType.ACCEPTED),
        ("sent", CallbackType.ACCEPTED),
        ("delivered", CallbackType.DELIVERED),
        ("read", CallbackType.OPENED),
        ("undelivered", CallbackType.BOUNCED),
        ("failed", CallbackType.BOUNCED),
        ("canceled", CallbackType.DROPPED),
    ],
)
def test_statuses(status: str, expected: int) -> None:
    told = read(MessageStatus=status, ErrorCode="30005" if expected == CallbackType.BOUNCED else "")
    assert told is not None
    event = told.callback
    assert event.type == expected
    assert event.reason == ("30005" if expected == CallbackType.BOUNCED else "")
    assert (event.channel, event.provider, event.provider_message_id) == (Channel.SMS, "twilio", SID)
    assert (event.delivery_id, event.notification_id) == (DELIVERY, NOTIFICATION)
    assert event.occur_time == event.receive_time == timestamp(HEARD)
    assert told.stopped == ""


def test_a_repetition_has_the_same_id() -> None:
    ids = [read(MessageStatus=status) for status in ("sent", "sent", "delivered")]
    first, second, third = (told.callback.callback_id for told in ids if told)
    assert first == second != third


def test_who_said_stop_to_twilio() -> None:
    told = read(MessageStatus="failed", ErrorCode="21610", To="+14155550123")
    assert told is not None
    assert (told.stopped, told.callback.reason) == ("+14155550123", "21610")
    unreadable = read(MessageStatus="failed", ErrorCode="21610", To="Crown")
    assert unreadable is not None
    assert unreadable.stopped == ""


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"MessageStatus": "levitating"},
        {"MessageStatus": "received"},
        {"MessageStatus": "sent", "MessageSid": "hello"},
        {"MessageStatus": "sent", "MessageSid": ""},
    ],
)
def test_what_means_nothing_here(form: dict[str, str]) -> None:
    assert read(**form) is None


def test_nothing_of_the_address_is_believed_blindly() -> None:
    told = twilio_events.read(
        {"MessageSid": SID, "MessageStatus": "sent", "ErrorCode": "x y"}, "n'1", "../d", HEARD
    )
    assert told is not None
    event = told.callback
    assert (event.delivery_id, event.notification_id, event.reason) == ("", "", "")
