"""Supabase's client among others: the names that it has for topics, and its broadcasts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.realtime.serializer import V1, V2

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.services.realtime.conftest import Connection, FakeGroups

GROUP = "group:g1"


def broadcast(event: str, payload: dict[str, Any]) -> bytes:
    """What its channel sends."""
    topic = f"realtime:{GROUP}"
    fields = ("1", "2", topic, event, "")
    return bytes((3, *map(len, fields), 1)) + "".join(fields).encode() + json.dumps(payload).encode()


@pytest.mark.parametrize("hearing", [V1, V2])
async def test_a_broadcast_reaches_the_other_members_by_the_name_that_each_uses(
    connect: Callable[..., Connection], groups: FakeGroups, hearing: type[V1 | V2]
) -> None:
    groups.put(GROUP, "ann", "bob", client_events=True)
    ann, bob = connect("ann"), connect("bob", serializer=hearing())
    await ann.ask("1", "1", f"realtime:{GROUP}", "phx_join", {})
    for name in (GROUP, f"realtime:{GROUP}"):
        await bob.ask("1", "1", name, "phx_join", {})
    await ann.heard()
    await bob.heard()
    ann.socket.receive(broadcast("cursor", {"x": 1}))
    answer = {"status": "ok", "response": {}}
    assert await ann.heard() == [["1", "2", f"realtime:{GROUP}", "phx_reply", answer]]
    whole = {"type": "broadcast", "event": "cursor", "payload": {"x": 1}, "user_id": "ann"}
    heard = [(frame[2], frame[3], frame[4]) for frame in await bob.heard()]
    assert sorted(heard) == [(GROUP, "broadcast", whole), (f"realtime:{GROUP}", "broadcast", whole)]
