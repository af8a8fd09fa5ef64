"""What a replay does about a letter, by what the ledger says of its delivery."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crown.notification.v1.types_pb2 import Channel, DeliveryState
from services.ingest.dead.replay import EXPIRED, GONE, HOMELESS, Facts, Step, decide

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
LETTER = {"_id": "d:3", "delivery_id": "d", "channel": Channel.SMS, "claims": 3}
# Given up after attempt number 3, and what becomes of it then.
STATES = {
    DeliveryState.FAILED: Step.OPEN,
    DeliveryState.UNKNOWN: Step.OPEN,
    DeliveryState.PENDING: Step.PUBLISH,
    DeliveryState.RETRYING: Step.MARK,
    DeliveryState.DELIVERED_TO_PROVIDER: Step.SETTLE,
    DeliveryState.DELIVERED: Step.SETTLE,
    DeliveryState.BOUNCED: Step.SETTLE,
    DeliveryState.READ: Step.SETTLE,
    DeliveryState.SUPPRESSED: Step.SETTLE,
    DeliveryState.EXPIRED: Step.SETTLE,
    DeliveryState.CANCELLED: Step.SETTLE,
    DeliveryState.DEFERRED: Step.MARK,
    DeliveryState.DIGESTED: Step.SETTLE,
}


def facts(readable: bool = True, expire_time: datetime | None = None, **given: Any) -> Facts:
    delivery = {"state": DeliveryState.FAILED, "claims": 3, "update_time": NOW - timedelta(hours=1), **given}
    return Facts({"deliveries": {"sms": delivery}, "expire_time": expire_time}, readable)


def test_every_state_is_thought_of() -> None:
    assert STATES.keys() == {state for state in DeliveryState.Type.values() if state}


@pytest.mark.parametrize(("state", "step"), STATES.items(), ids=lambda value: str(value))
def test_by_the_state_of_the_delivery(state: DeliveryState.Type.ValueType, step: Step) -> None:
    assert decide(LETTER, facts(state=state), NOW) is step
    # A later attempt was made: this giving up was replayed, whatever came of it.
    assert decide(LETTER, facts(state=state, claims=4), NOW) is Step.MARK


@pytest.mark.parametrize(
    ("known", "found"),
    [
        (Facts(None, True), GONE),
        (Facts({"deliveries": {"push": {}}}, True), GONE),
        (facts(readable=False), GONE),
        (facts(expire_time=NOW), EXPIRED),
        (facts(expire_time=NOW + timedelta(seconds=1)), Step.OPEN),
        # What was settled stays settled, also where nobody can read it any more.
        (facts(readable=False, state=DeliveryState.DELIVERED), Step.SETTLE),
        # Somebody opened it a moment ago, and is about to publish it.
        (facts(state=DeliveryState.PENDING, update_time=NOW - timedelta(seconds=4)), Step.MARK),
        (facts(state=DeliveryState.PENDING, update_time=NOW - timedelta(seconds=6)), Step.PUBLISH),
    ],
)
def test_by_what_else_is_known(known: Facts, found: Step | str) -> None:
    assert decide(LETTER, known, NOW) == found


def test_who_is_alone_waits_for_nobody() -> None:
    just_opened = facts(state=DeliveryState.PENDING, update_time=NOW)
    assert decide(LETTER, just_opened, NOW, timedelta()) is Step.PUBLISH


@pytest.mark.parametrize(
    ("stream", "channel", "found"),
    [
        ("INTAKE_normal", Channel.CHANNEL_UNSPECIFIED, Step.BODY),
        ("DELIVERY_bulk", Channel.SMS, Step.BODY),
        ("RETRY", Channel.EMAIL, Step.BODY),
        ("DELIVERY_bulk", Channel.CHANNEL_UNSPECIFIED, HOMELESS),
        ("DEAD", Channel.SMS, HOMELESS),
        ("", Channel.SMS, HOMELESS),
    ],
)
def test_messages_that_nobody_could_read(
    stream: str, channel: Channel.Type.ValueType, found: Step | str
) -> None:
    letter = {"_id": "x:1", "delivery_id": "", "channel": channel, "stream": stream, "claims": 0}
    assert decide(letter, None, NOW) == found
