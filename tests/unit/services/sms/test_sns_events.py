"""What AWS tells later, row by row."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from crown.clock import timestamp
from crown.notification.v1.types_pb2 import CallbackType, Channel
from services.sms.sns import events as sns_events
from services.sms.sns.events import Texted
from services.sms.told import Told

HEARD = datetime(2026, 11, 25, 12, tzinfo=UTC)
ID = "862a8790-60c0-4430-9b2b-658bdexample"


def event(kind: str, **more: Any) -> dict[str, Any]:
    """As End User Messaging writes it."""
    return {
        "eventType": kind,
        "eventVersion": "1.0",
        "eventTimestamp": 1_795_600_000_123,
        "isFinal": True,
        "destinationPhoneNumber": "+14155550123",
        "messageId": ID,
        "messageStatus": kind.removeprefix("TEXT_"),
        "messageStatusDescription": "to +14155550123",
        **more,
    }


def read(message: Any) -> Told:
    found = sns_events.read(json.dumps(message), HEARD)
    assert isinstance(found, Told)
    return found


@pytest.mark.parametrize(
    ("kind", "final", "expected"),
    [
        ("TEXT_QUEUED", False, CallbackType.ACCEPTED),
        ("TEXT_PENDING", False, CallbackType.ACCEPTED),
        ("TEXT_SENT", False, CallbackType.ACCEPTED),
        ("TEXT_SUCCESSFUL", False, CallbackType.ACCEPTED),
        ("TEXT_SUCCESSFUL", True, CallbackType.DELIVERED),
        ("TEXT_DELIVERED", True, CallbackType.DELIVERED),
        ("TEXT_BLOCKED", True, CallbackType.BOUNCED),
        ("TEXT_CARRIER_BLOCKED", True, CallbackType.BOUNCED),
        ("TEXT_SPAM", True, CallbackType.BOUNCED),
        ("TEXT_INVALID", True, CallbackType.BOUNCED),
        ("TEXT_INVALID_MESSAGE", True, CallbackType.BOUNCED),
        ("TEXT_UNREACHABLE", True, CallbackType.BOUNCED),
        ("TEXT_CARRIER_UNREACHABLE", True, CallbackType.BOUNCED),
        ("TEXT_TTL_EXPIRED", True, CallbackType.BOUNCED),
        ("TEXT_PROTECT_BLOCKED", True, CallbackType.DROPPED),
        ("TEXT_UNKNOWN", True, CallbackType.ACCEPTED),
    ],
)
def test_events(kind: str, final: bool, expected: int) -> None:
    told = read(event(kind, isFinal=final))
    found = told.callback
    assert (found.type, found.channel, found.provider, found.provider_message_id) == (
        expected,
        Channel.SMS,
        "sns",
        ID,
    )
    assert found.reason == ("" if expected == CallbackType.DELIVERED else kind.removeprefix("TEXT_"))
    assert found.occur_time.ToMilliseconds() == 1_795_600_000_123
    assert found.receive_time == timestamp(HEARD)
    assert told.stopped == ""
    assert "1415" not in str(found)


def logged(status: str, response: str = "") -> dict[str, Any]:
    """As SNS itself logs it."""
    return {
        "notification": {"messageId": ID, "timestamp": "2026-11-25 11:59:58.123"},
        "delivery": {"destination": "+14155550123", "priceInUSD": 0.01, "providerResponse": response},
        "status": status,
    }


@pytest.mark.parametrize(
    ("message", "expected", "reason", "stopped"),
    [
        (logged("SUCCESS", "Message has been accepted by phone"), CallbackType.DELIVERED, "", ""),
        (logged("FAILURE", "Unknown error attempting to reach phone"), CallbackType.BOUNCED, "FAILURE", ""),
        (logged("FAILURE", "Phone number is opted out"), CallbackType.BOUNCED, "OPTED_OUT", "+14155550123"),
    ],
)
def test_logs(message: Any, expected: int, reason: str, stopped: str) -> None:
    told = read(message)
    assert (told.callback.type, told.callback.reason, told.stopped) == (expected, reason, stopped)
    assert told.callback.occur_time.ToJsonString() == "2026-11-25T11:59:58.123Z"


def test_a_text() -> None:
    message = {
        "originationNumber": "+14155550123",
        "destinationNumber": "+15005550006",
        "messageKeyword": "KEYWORD_1",
        "messageBody": "Stop",
        "inboundMessageId": "cae173d2",
    }
    assert sns_events.read(json.dumps(message), HEARD) == Texted("+14155550123", "Stop")
    assert sns_events.read(json.dumps({**message, "originationNumber": "Crown"}), HEARD) is None


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "[]",
        "{}",
        "null",
        json.dumps(event("TEXT_LEVITATING")),
        json.dumps(event("VOICE_COMPLETED")),
        json.dumps(event("TEXT_SENT", messageId="a b")),
        json.dumps(event("TEXT_SENT", eventTimestamp=-1)),
        json.dumps(event("TEXT_SENT", eventTimestamp=10**18)),
        json.dumps(event("TEXT_SENT", eventTimestamp="soon")),
        json.dumps(logged("MAYBE")),
        json.dumps({**logged("SUCCESS"), "notification": {"messageId": ID, "timestamp": "soon"}}),
        "[" * 5_000,
    ],
)
def test_what_means_nothing_here(message: str) -> None:
    assert sns_events.read(message, HEARD) is None


def test_words_that_are_none_are_left_out() -> None:
    assert read(event("TEXT_BLOCKED", messageStatus="to +1415")).callback.reason == "TEXT_BLOCKED"


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_its_zone_takes_out_of_the_calendar_is_none(when: str) -> None:
    message = {**logged("SUCCESS"), "notification": {"messageId": ID, "timestamp": when}}
    assert sns_events.read(json.dumps(message), HEARD) is None
