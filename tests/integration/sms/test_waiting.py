"""A text that a cap keeps back: it waits in JetStream, costs no attempt, and goes out when there is room."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

import pytest

from crown.clock import now
from crown.delivery import Engine
from crown.desk import PersonDesk
from crown.judgement import Rules
from crown.ledger import Ledger
from crown.notification.v1.types_pb2 import Channel
from crown.rendering import Links
from crown.route import Route
from services.sms import desk
from services.sms.caps import Expense, Reached
from services.sms.desk import SmsDesk
from services.sms.gate import Gate
from services.sms.numbers import Numbers
from services.sms.text import Texts
from tests.integration.crown.scripted import Scripted
from tests.integration.local import Local

ANN = {"phone": "+14155550123"}


class Caps:
    """Full for a moment, whatever is asked for first."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.callers: list[tuple[str, bool]] = []

    async def reserve(self, expense: Expense) -> Reached | None:
        self.asked.append(expense.attempt)
        self.callers.append((expense.caller, expense.urgent))
        return Reached("country", now() + timedelta(seconds=0.3)) if len(self.asked) == 1 else None


@pytest.fixture(autouse=True)
def together() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk, "_SPREAD_S", 0.0)
        yield


def engine(local: Local, country: str, caps: Caps, carrier: Scripted) -> Engine:
    """As the service has it, with texts to one country."""
    numbers, texts = Numbers({country}, {}, "Crown"), Texts(Links("https://crown.example", ()))
    gate = Gate(texts, numbers, caps)  # type: ignore[arg-type]
    person = PersonDesk(Channel.SMS, local.db, local.data_key)
    sms = SmsDesk(person, gate, Rules(), random.Random(1))
    route = Route([carrier], channel="sms", most=16)
    return Engine(Channel.SMS, route, sms, local.bus, local.store, Ledger(local.db), 16)


async def test_it_waits(local: Local) -> None:
    caps, carrier = Caps(), Scripted("carrier")
    async with local.dispatching(), local.working(engine(local, "US", caps, carrier).run):
        sent = await local.send(type="SMS", user_id=local.somebody(), address=ANN)
        await local.becomes(sent, "sms", "RETRYING")
        (row,) = await local.rows(sent)
        waiting = row["deliveries"]["sms"]
        assert (waiting["reason"], waiting["attempts"]) == ("CAP_REACHED: country", 0)
        assert carrier.sent == []
        await local.becomes(sent, "sms", "DELIVERED_TO_PROVIDER")
    (attempt,) = carrier.sent
    assert attempt.number == 1
    assert caps.asked == [f"{attempt.delivery_id}:1"] * 2
    assert caps.callers == [("feed", False)] * 2


@pytest.mark.parametrize("given", [{"priority": "CRITICAL"}, {"category": "SECURITY"}], ids=str)
async def test_what_is_urgent_is_asked_for_so(local: Local, given: dict[str, str]) -> None:
    caps, carrier = Caps(), Scripted("carrier")
    async with local.dispatching(), local.working(engine(local, "US", caps, carrier).run):
        sent = await local.send(type="SMS", user_id=local.somebody(), address=ANN, **given)
        await local.becomes(sent, "sms", "DELIVERED_TO_PROVIDER")
    assert caps.callers == [("feed", True)] * 2


async def test_a_country_that_is_not_allowed(local: Local) -> None:
    caps, carrier = Caps(), Scripted("carrier")
    async with local.dispatching(), local.working(engine(local, "DE", caps, carrier).run):
        sent = await local.send(type="SMS", user_id=local.somebody(), address=ANN)
        await local.becomes(sent, "sms", "FAILED")
    (row,) = await local.rows(sent)
    assert row["deliveries"]["sms"]["reason"] == "COUNTRY_NOT_ALLOWED"
    assert (carrier.sent, caps.asked) == ([], [])
