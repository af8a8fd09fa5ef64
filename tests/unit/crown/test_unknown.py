"""After an attempt that broke off: again, or not."""

from __future__ import annotations

import pytest

from crown.backoff import ATTEMPTS_MOST
from crown.notification.v1.types_pb2 import Category, Channel
from crown.unknown import asks_first, resends_allowed

CATEGORIES = [value for value in Category.Type.values() if value]


@pytest.mark.parametrize("category", CATEGORIES, ids=Category.Type.Name)
@pytest.mark.parametrize("channel", [Channel.PUSH, Channel.EMAIL], ids=Channel.Type.Name)
def test_push_and_email_go_again(channel: Channel.Type.ValueType, category: Category.Type.ValueType) -> None:
    assert resends_allowed(channel, category) >= ATTEMPTS_MOST


@pytest.mark.parametrize("category", CATEGORIES, ids=Category.Type.Name)
def test_a_text_message_goes_again_once_and_only_for_security(category: Category.Type.ValueType) -> None:
    assert resends_allowed(Channel.SMS, category) == (1 if category == Category.SECURITY else 0)


def test_only_for_text_messages_is_the_provider_asked_first() -> None:
    assert [channel for channel in Channel.Type.values() if asks_first(channel)] == [Channel.SMS]
