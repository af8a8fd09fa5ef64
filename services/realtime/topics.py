"""The topics there are."""

from __future__ import annotations

from services.realtime.channel import Channel
from services.realtime.group_channel import GroupChannel
from services.realtime.ops_channel import OpsChannel
from services.realtime.user_channel import UserChannel

# Supabase's client puts this before every name.
ALIAS = "realtime:"
# Longer ones are nobody's.
TOPIC_MOST_CHARS = 200

# What is behind each topic, by what stands before the colon.
KINDS: dict[str, type[Channel]] = {
    kind: channel for channel in (UserChannel, GroupChannel, OpsChannel) for kind in channel.KINDS
}


def find(topic: object) -> tuple[type[Channel], str] | None:
    """The kind of channel that `topic` has, and the topic that it means; None where there is no such topic."""
    if not isinstance(topic, str) or len(topic) > TOPIC_MOST_CHARS:
        return None
    meant = topic.removeprefix(ALIAS)
    kind, colon, _ = meant.partition(":")
    channel = KINDS.get(kind) if colon else None
    return (channel, meant) if channel is not None else None
