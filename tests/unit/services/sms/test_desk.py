"""What the desk of the SMS channel makes of what the gate says."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from crown.clock import now
from crown.judgement import Rules, as_is, final
from crown.ledger import Change, Entry
from crown.notification.v1.events_pb2 import DeliveryEvent
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, Priority
from crown.provider import Attempt
from crown.rendering import Links
from services.sms.caps import Expense, Reached
from services.sms.desk import SmsDesk
from services.sms.gate import Gate
from services.sms.numbers import Numbers
from services.sms.text import Texts

Make = Callable[..., Attempt]
NOON = now()


class Stage:
    """A desk that prepares what it is told, and caps that say what they are told."""

    def __init__(self, links: Links) -> None:
        self.prepared: Attempt | Change | None = None
        self.reached: Reached | None = None
        self.asked: list[Expense] = []
        gate = Gate(Texts(links), Numbers({"US"}, {}, "Crown"), self)  # type: ignore[arg-type]
        self.desk = SmsDesk(self, gate, Rules(), random.Random(1))  # type: ignore[arg-type]

    async def prepare(self, _entry: Entry) -> Attempt | Change | None:
        return self.prepared

    async def reserve(self, asked: Expense) -> Reached | None:
        self.asked.append(asked)
        return self.reached


@pytest.fixture
def stage(links: Links) -> Stage:
    return Stage(links)


@pytest.fixture
def entry() -> Entry:
    event = DeliveryEvent(delivery_id="d" * 32, notification_id="n-1", user_id="u1", channel=Channel.SMS)
    return Entry(
        event,
        state=DeliveryState.PENDING,
        reason="",
        attempts=2,
        claims=2,
        unknowns=0,
        done=(),
        due_time=None,
        provider="",
        provider_message_id="",
        kind="login_alert",
        category=Category.SECURITY,
        create_time=NOON,
        expire_time=None,
        wrapped_key=b"k",
        ciphertext=b"c",
        sender="auth",
    )


async def test_what_the_inner_desk_ends_has_ended(stage: Stage, entry: Entry) -> None:
    stage.prepared = final(entry, DeliveryState.SUPPRESSED, "NO_ADDRESS")
    assert await stage.desk.prepare(entry) == stage.prepared
    assert stage.asked == []


async def test_what_may_be_sent_is_reserved(stage: Stage, entry: Entry, attempt: Make) -> None:
    stage.prepared = attempt("+14155550123", number=3)
    assert await stage.desk.prepare(entry) is stage.prepared
    assert stage.asked == [Expense(f"{'d' * 32}:3", "+14155550123", "US", 1, "auth", urgent=True)]


@pytest.mark.parametrize("category", [c for c in Category.Type.values() if c != Category.SECURITY])
@pytest.mark.parametrize("priority", Priority.Type.values())
async def test_what_is_urgent_may_use_the_reserve(
    stage: Stage,
    entry: Entry,
    attempt: Make,
    category: Category.Type.ValueType,
    priority: Priority.Type.ValueType,
) -> None:
    stage.prepared = attempt("+14155550123")
    event = DeliveryEvent(priority=priority, channel=Channel.SMS)
    await stage.desk.prepare(replace(entry, category=category, event=event))
    assert [asked.urgent for asked in stage.asked] == [priority == Priority.CRITICAL]


@pytest.mark.parametrize(
    ("number", "data", "reason"),
    [
        ("+33612345678", {}, "COUNTRY_NOT_ALLOWED"),
        ("+19005551234", {}, "NUMBER_TYPE_NOT_ALLOWED"),
        ("+14155550123", {"title": " ", "message": "", "action_url": ""}, "EMPTY_TEXT"),
    ],
)
async def test_what_may_never_be_sent(
    stage: Stage, entry: Entry, attempt: Make, number: str, data: dict[str, str], reason: str
) -> None:
    stage.prepared = attempt(number, **data)
    assert await stage.desk.prepare(entry) == final(entry, DeliveryState.FAILED, reason)
    assert stage.asked == []


@pytest.mark.parametrize("cap", ["number", "prefix"])
async def test_a_cap_that_refuses(stage: Stage, entry: Entry, attempt: Make, cap: str) -> None:
    stage.prepared, stage.reached = attempt("+14155550123"), Reached(cap, None)
    expected = final(entry, DeliveryState.FAILED, f"CAP_REACHED: {cap}")
    assert await stage.desk.prepare(entry) == expected


async def test_a_cap_that_waits_costs_no_attempt(stage: Stage, entry: Entry, attempt: Make) -> None:
    until = NOON + timedelta(minutes=20)
    stage.prepared, stage.reached = attempt("+14155550123"), Reached("country", until)
    found = await stage.desk.prepare(entry)
    assert isinstance(found, Change)
    assert found.due_time is not None
    # Spread, so that not all come at once.
    assert until <= found.due_time <= until + timedelta(minutes=2)
    waiting = replace(as_is(entry), state=DeliveryState.RETRYING, reason="CAP_REACHED: country")
    assert found == replace(waiting, due_time=found.due_time)


async def test_what_would_wait_beyond_its_end(stage: Stage, entry: Entry, attempt: Make) -> None:
    stage.prepared = attempt("+14155550123")
    stage.reached = Reached("day", NOON + timedelta(hours=8))
    short = replace(entry, expire_time=NOON + timedelta(hours=7))
    expected = final(short, DeliveryState.EXPIRED, "EXPIRED: CAP_REACHED: day")
    assert await stage.desk.prepare(short) == expected
