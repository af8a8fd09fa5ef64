"""What a person wants: defaults, choices, and what no choice turns off."""

from __future__ import annotations

import itertools

import pytest

from crown.catalogue import CATEGORIES
from crown.choices import NOTHING, Choices, refusal, spelled_out, why_not
from crown.notification.v1.types_pb2 import Category, Channel
from crown.subjects import CHANNELS

PAIRS = list(itertools.product(CATEGORIES, CHANNELS))
NEEDS_CONSENT = {(Category.MARKETING, channel) for channel in (Channel.PUSH, Channel.EMAIL, Channel.SMS)}


def test_every_category_and_channel_has_its_word() -> None:
    assert {Category.Type.Name(value).lower(): value for value in CATEGORIES} == {
        word: value for value, word in CATEGORIES.items()
    }
    assert set(CATEGORIES) == {value for value in Category.Type.values() if value}
    assert set(CHANNELS) == {value for value in Channel.Type.values() if value} - {Channel.WEBHOOK}


@pytest.mark.parametrize(("category", "channel"), PAIRS, ids=lambda value: str(value))
def test_without_a_choice_only_marketing_needs_consent(
    category: Category.Type.ValueType, channel: Channel.Type.ValueType
) -> None:
    asked = (category, channel) in NEEDS_CONSENT
    assert refusal(NOTHING, category, channel) == ("CONSENT_MISSING" if asked else "")


@pytest.mark.parametrize(("category", "channel"), PAIRS, ids=lambda value: str(value))
@pytest.mark.parametrize("chosen", [True, False])
def test_a_choice_is_obeyed_but_for_security(
    category: Category.Type.ValueType, channel: Channel.Type.ValueType, chosen: bool
) -> None:
    choices = Choices({CATEGORIES[category]: {CHANNELS[channel]: chosen}})
    passes = chosen or category == Category.SECURITY
    assert refusal(choices, category, channel) == ("" if passes else "PREFERENCE_OFF")
    others = [pair for pair in PAIRS if pair != (category, channel)]
    assert [refusal(choices, *pair) for pair in others] == [refusal(NOTHING, *pair) for pair in others]


@pytest.mark.parametrize(("category", "channel"), PAIRS, ids=lambda value: str(value))
def test_all_off_is_off_but_for_security(
    category: Category.Type.ValueType, channel: Channel.Type.ValueType
) -> None:
    choices = Choices({CATEGORIES[category]: {CHANNELS[channel]: True}}, all_off=True)
    assert refusal(choices, category, channel) == ("" if category == Category.SECURITY else "ALL_OFF")


def test_spelled_out_is_what_holds() -> None:
    chosen = {"social": {"push": False}, "marketing": {"email": True}, "security": {"sms": False}}
    found = spelled_out(Choices(chosen))
    for category, channel in PAIRS:
        name, on = CATEGORIES[category], CHANNELS[channel]
        assert found[name][on] == (not why_not(Choices(chosen), name, on))
    assert spelled_out(Choices(found)) == found
    # What turns all off is no choice about any of them.
    assert spelled_out(Choices(chosen, all_off=True)) == found
