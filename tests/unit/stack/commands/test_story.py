"""`crown explain`: each entry of a timeline is one sentence, whatever it tells."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner

from crown.notification.v1.notification_pb2 import Notification
from crown.notification.v1.timeline_pb2 import TimelineEntry
from crown.notification.v1.types_pb2 import (
    CallbackType,
    Category,
    Channel,
    DeliveryState,
    NotificationStatus,
    Priority,
    TimelineEvent,
)
from stack import cli
from stack.commands import story

AT = Timestamp(seconds=1_795_600_000, nanos=250_000_000)
DUE = Timestamp(seconds=1_795_644_000)


def told(event: TimelineEvent.Type.ValueType, **given: Any) -> str:
    fields = {"user_id": "ann", "channel": Channel.PUSH, **given}
    return story.sentence(TimelineEntry(event=event, time=AT, **fields))


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ((TimelineEvent.ACCEPTED, {}), "It was stored, and its sender heard yes."),
        (
            (
                TimelineEvent.DECIDED,
                {"state": DeliveryState.DEFERRED, "reason": "QUIET_HOURS", "due_time": DUE},
            ),
            "Decided for ann by push: wait for the person's quiet hours, until 2026-11-25 22:00:00 UTC.",
        ),
        (
            (TimelineEvent.DECIDED, {"state": DeliveryState.SUPPRESSED, "reason": "PREFERENCE_OFF"}),
            "Decided for ann by push: do not send it, since the person has turned this off.",
        ),
        (
            (TimelineEvent.RELEASED, {"state": DeliveryState.PENDING}),
            "The time came for ann by push: send it now.",
        ),
        (
            (TimelineEvent.RELEASED, {"state": DeliveryState.EXPIRED, "reason": "EXPIRED: QUIET_HOURS"}),
            "The time came for ann by push: too late to send it (its time had passed (the person's quiet hours)).",
        ),
        (
            (
                TimelineEvent.ATTEMPTED,
                {
                    "state": DeliveryState.RETRYING,
                    "attempt": 1,
                    "provider": "fcm",
                    "detail": "503",
                    "due_time": DUE,
                },
            ),
            "Attempt 1 by fcm for ann by push: it failed [503]; again at 2026-11-25 22:00:00 UTC.",
        ),
        (
            (TimelineEvent.ATTEMPTED, {"state": DeliveryState.SUPPRESSED, "reason": "NO_ADDRESS"}),
            "Without an attempt for ann by push: it was not sent, since there is no address to send to.",
        ),
        (
            (TimelineEvent.CALLBACK, {"callback": CallbackType.OPENED, "provider": "sendgrid"}),
            "sendgrid told of ann by push: the person opened it.",
        ),
        ((TimelineEvent.READ, {}), "ann read it in the app."),
        ((TimelineEvent.CANCELLED, {"user_id": "", "channel": 0}), "Its sender cancelled it."),
    ],
)
def test_an_entry_is_a_sentence(
    entry: tuple[TimelineEvent.Type.ValueType, dict[str, Any]], sentence: str
) -> None:
    assert told(entry[0], **entry[1]) == sentence


@pytest.mark.parametrize(
    ("event", "state"), list(product(TimelineEvent.Type.values(), DeliveryState.Type.values()))
)
def test_every_entry_has_one(
    event: TimelineEvent.Type.ValueType, state: DeliveryState.Type.ValueType
) -> None:
    sentence = told(event, state=state, reason="SOME_WORD: of a provider")
    assert sentence.endswith(".")
    assert event == TimelineEvent.EVENT_UNSPECIFIED or "does not know" not in sentence


@pytest.mark.parametrize("status", NotificationStatus.Type.values()[1:], ids=NotificationStatus.Type.Name)
def test_the_headline_says_what_it_is(status: NotificationStatus.Type.ValueType) -> None:
    found = Notification(
        kind="like",
        sender="feed",
        category=Category.ACTIVITY,
        priority=Priority.BULK,
        recipient_count=3,
        status=status,
    )
    headline = story.headline(found)
    assert headline.startswith("A like of feed for 3 people (activity, lane bulk) ")
    assert "does not know" not in headline


def test_times_are_of_utc_to_the_millisecond() -> None:
    assert story.clock(AT) == "2026-11-25 09:46:40.250"


def test_without_a_stack_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("CROWN_STACK_HOME", str(tmp_path))
    monkeypatch.setenv("CROWN_STACK_PORT_BASE", "13990")
    result = CliRunner().invoke(cli.app, ["explain", "018f0000-0000-7000-8000-000000000000"])
    assert result.exit_code
    assert "not up" in str(result.exception)
