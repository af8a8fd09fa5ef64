"""Who gets what where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState
from crown.preferences import Choices
from crown.subjects import CHANNELS
from services.ingest.decide import Decision, decide

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALL = list(CHANNELS)
AT_ONCE = {Channel.IN_APP, Channel.REAL_TIME}


def decided(
    choices: Choices | None = None,
    category: Category.Type.ValueType = Category.SOCIAL,
    expire_time: datetime | None = None,
) -> dict[int, Decision]:
    found = decide(ALL, category, choices or {}, expire_time, NOW)
    assert [decision.channel for decision in found] == ALL
    return {decision.channel: decision for decision in found}


def test_inbox_and_sockets_are_done_and_the_rest_is_open() -> None:
    for channel, decision in decided().items():
        done = channel in AT_ONCE
        assert decision.state == (DeliveryState.DELIVERED if done else DeliveryState.PENDING)
        assert (decision.open, decision.reason) == (not done, "")


@pytest.mark.parametrize("channel", ALL, ids=Channel.Type.Name)
def test_an_opt_out_is_obeyed_with_a_reason(channel: Channel.Type.ValueType) -> None:
    word = Channel.Type.Name(channel).lower()
    found = decided({"social": {word: False}})
    assert found[channel] == Decision(channel, DeliveryState.SUPPRESSED, "PREFERENCE_OFF")
    assert not found[channel].open
    assert [d.reason for c, d in found.items() if c != channel] == [""] * 4


def test_marketing_waits_for_consent() -> None:
    found = decided(category=Category.MARKETING)
    assert {c for c, d in found.items() if d.reason == "PREFERENCE_OFF"} == set(ALL) - AT_ONCE
    assert decided({"marketing": {"email": True}}, Category.MARKETING)[Channel.EMAIL].open


def test_security_passes_every_choice() -> None:
    off = {Channel.Type.Name(channel).lower(): False for channel in ALL}
    found = decided({"security": off}, Category.SECURITY)
    assert {d.reason for d in found.values()} == {""}


@pytest.mark.parametrize(("seconds", "expired"), [(None, False), (1, False), (0, True), (-60, True)])
def test_what_expired_goes_nowhere(seconds: int | None, expired: bool) -> None:
    found = decided(expire_time=None if seconds is None else NOW + timedelta(seconds=seconds))
    assert all((d.state == DeliveryState.EXPIRED) == expired for d in found.values())
    if expired:
        assert {(d.reason, d.open) for d in found.values()} == {("EXPIRED", False)}
