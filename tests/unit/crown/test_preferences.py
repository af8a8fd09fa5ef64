"""What a person wants: defaults, choices, and what no choice turns off."""

from __future__ import annotations

import itertools

import pytest

from crown.notification.v1.types_pb2 import Category, Channel
from crown.preferences import CATEGORIES, Choices, allows, spelled_out
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
    assert allows({}, category, channel) == ((category, channel) not in NEEDS_CONSENT)


@pytest.mark.parametrize(("category", "channel"), PAIRS, ids=lambda value: str(value))
@pytest.mark.parametrize("chosen", [True, False])
def test_a_choice_is_obeyed_but_for_security(
    category: Category.Type.ValueType, channel: Channel.Type.ValueType, chosen: bool
) -> None:
    choices: Choices = {CATEGORIES[category]: {CHANNELS[channel]: chosen}}
    assert allows(choices, category, channel) == (chosen or category == Category.SECURITY)
    others = [pair for pair in PAIRS if pair != (category, channel)]
    assert [allows(choices, *pair) for pair in others] == [allows({}, *pair) for pair in others]


def test_spelled_out_is_what_holds() -> None:
    choices: Choices = {"social": {"push": False}, "marketing": {"email": True}, "security": {"sms": False}}
    found = spelled_out(choices)
    for category, channel in PAIRS:
        assert found[CATEGORIES[category]][CHANNELS[channel]] == allows(choices, category, channel)
    assert spelled_out(found) == found
