"""Who may join which topic stands in the proto, and nowhere else."""

from __future__ import annotations

import pytest

from services.realtime import topics
from services.realtime.channel import Channel
from services.realtime.group_channel import GroupChannel
from services.realtime.topic_rules import RULES


def test_every_kind_of_topic_has_a_rule_and_every_rule_its_channel() -> None:
    assert RULES.keys() == topics.KINDS.keys()


@pytest.mark.parametrize("kind", RULES)
def test_only_groups_have_members(kind: str) -> None:
    asks = topics.KINDS[kind].must_be_member is not Channel.must_be_member
    assert asks == RULES[kind].member == (topics.KINDS[kind] is GroupChannel)


@pytest.mark.parametrize("kind", RULES)
def test_no_channel_decides_by_itself_who_may_join(kind: str) -> None:
    """`join` asks the rule; channels say what happens after that."""
    assert topics.KINDS[kind].join is Channel.join
