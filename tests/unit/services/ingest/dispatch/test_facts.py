"""What facts decide of several orders of one turn."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from crown.choices import Cap, Choices
from crown.clock import timestamp
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.notification.v1.types_pb2 import Category, Channel, Span
from crown.pull import Message
from crown.vault import Key
from services.ingest.dispatch.facts import Facts
from services.ingest.dispatch.orders import Order

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def order(*people: str, local_time: str = "") -> Order:
    event = IntakeEvent(
        notification_id="n",
        user_ids=people,
        channels=[Channel.PUSH, Channel.IN_APP],
        category=Category.SOCIAL,
        local_time=local_time,
        create_time=timestamp(NOW),
    )
    return Order(cast("Message", None), event, Key.fresh(), "")


def test_what_was_decided_before_in_a_turn_counts_against_a_cap() -> None:
    cap = Cap("", "push", 2, Span.DAY)
    facts = Facts({}, {"ann": Choices(caps=(cap,))}, {}, {"ann": {cap: 1}})
    reasons = [[one.reason for one in facts.decide(order("ann"), NOW)["ann"]] for _ in range(3)]
    assert reasons == [["", ""], ["FREQUENCY_CAP", ""], ["FREQUENCY_CAP", ""]]


def test_who_chose_nothing_shares_one_decision_but_for_local_time() -> None:
    facts = Facts({}, {"cyd": Choices({"social": {"push": False}})}, {"bob": "Asia/Tokyo"}, {})
    made = facts.decide(order("ann", "bob", "cyd"), NOW)
    assert made["ann"] is made["bob"]
    assert made["cyd"][0].reason == "PREFERENCE_OFF"
    local = facts.decide(order("ann", "bob", local_time="09:00"), NOW)
    # Nine by UTC, which is for who has no zone, and in Tokyo.
    assert [local[who][0].due_time for who in ("ann", "bob")] == [
        datetime(2026, 11, 26, 9, tzinfo=UTC),
        datetime(2026, 11, 26, 0, tzinfo=UTC),
    ]
