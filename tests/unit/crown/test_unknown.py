"""After an attempt that broke off: again, or not."""

from __future__ import annotations

import pytest

from crown.backoff import ATTEMPTS_MOST
from crown.notification.v1.types_pb2 import Category, Channel
from crown.unknown import USUAL, asks_first, parse

CATEGORIES = [value for value in Category.Type.values() if value]


@pytest.mark.parametrize("category", CATEGORIES, ids=Category.Type.Name)
@pytest.mark.parametrize("channel", [Channel.PUSH, Channel.EMAIL, Channel.WEBHOOK], ids=Channel.Type.Name)
def test_all_but_texts_go_again(channel: Channel.Type.ValueType, category: Category.Type.ValueType) -> None:
    assert USUAL.resends_allowed(channel, category) >= ATTEMPTS_MOST


@pytest.mark.parametrize("category", CATEGORIES, ids=Category.Type.Name)
def test_a_text_message_goes_again_once_and_only_for_security(category: Category.Type.ValueType) -> None:
    assert USUAL.resends_allowed(Channel.SMS, category) == (1 if category == Category.SECURITY else 0)


def test_without_a_category_it_is_as_for_most() -> None:
    assert USUAL.resends_allowed(Channel.SMS, Category.CATEGORY_UNSPECIFIED) == 0
    assert USUAL.resends_allowed(Channel.EMAIL, Category.CATEGORY_UNSPECIFIED) >= ATTEMPTS_MOST


@pytest.mark.parametrize(
    ("text", "channel", "category", "resends"),
    [
        ("sms.marketing=once", Channel.SMS, Category.MARKETING, 1),
        ("sms.marketing=once", Channel.SMS, Category.SOCIAL, 0),
        ("sms.*=once, sms.security=park", Channel.SMS, Category.SECURITY, 0),
        ("sms.*=once", Channel.SMS, Category.SECURITY, 1),
        ("email.*=park", Channel.EMAIL, Category.SECURITY, 0),
        ("email.*=park", Channel.PUSH, Category.SECURITY, 1_000),
        ("*.marketing=park", Channel.WEBHOOK, Category.MARKETING, 0),
        ("email.*=park,email.*=resend", Channel.EMAIL, Category.SOCIAL, 1_000),
        (" , ", Channel.EMAIL, Category.SOCIAL, 1_000),
    ],
)
def test_a_deployment_decides_otherwise(
    text: str,
    channel: Channel.Type.ValueType,
    category: Category.Type.ValueType,
    resends: int,
) -> None:
    assert parse(text).resends_allowed(channel, category) == resends


@pytest.mark.parametrize(
    "text",
    ["sms", "sms=park", "sms.*", "sms.*=often", "fax.*=park", "sms.gossip=park", "in_app.*=park", "=", "."],
)
def test_what_is_wrong_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be channel\.category=word with push, email, sms, webhook"):
        parse(text)


def test_only_for_text_messages_is_the_provider_asked_first() -> None:
    assert [channel for channel in Channel.Type.values() if asks_first(channel)] == [Channel.SMS]
