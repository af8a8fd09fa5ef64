"""Who is here, as this node tells it: the seam. In Redis for real, in memory for tests."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

# Metas, or whole states, as Phoenix has them: {"ann": {"metas": [{"phx_ref": …, …}]}}.
State = dict[str, dict[str, list[dict[str, Any]]]]
# Tells an event to everybody on a topic, on every node: topic, event, payload.
Tell = Callable[[str, str, dict[str, Any]], Awaitable[None]]

STATE = "presence_state"
DIFF = "presence_diff"
COUNT = "presence_count"


class Presence(Protocol):
    """The part of presence that a node writes. Nothing here raises, nor waits for long, where Redis is away: what
    this node knows is written when it is back."""

    async def track(self, topic: str, key: str, meta: dict[str, Any]) -> str:
        """Somebody is on a topic: answers the ref of the entry. Everybody on the topic hears of it soon."""

    async def update(self, topic: str, ref: str, meta: dict[str, Any]) -> str:
        """They say something else of themselves: answers the new ref."""

    async def untrack(self, topic: str, ref: str) -> None:
        """They are gone; harmless where they were not there."""

    async def state(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        """What who joins is sent, events with their payloads: `presence_state`, which on a big topic is empty, and
        there `presence_count` with the number of connections."""

    async def register(self, user_id: str, socket_id: str) -> int:
        """A person has one more open socket: answers how many on all nodes that live."""

    async def unregister(self, user_id: str, socket_id: str) -> None:
        """And one less."""

    def active(self, user_id: str) -> None:
        """A person did something. Cheap: it is written now and then."""


def new_ref() -> str:
    """A name for one entry, unlike all others: phx_ref."""
    return base64.urlsafe_b64encode(os.urandom(12)).decode()


def described(meta: dict[str, Any], ref: str, before: str = "") -> dict[str, Any]:
    """`meta` with the refs that clients tell entries apart by."""
    refs = {"phx_ref": ref, "phx_ref_prev": before} if before else {"phx_ref": ref}
    return {"online_at": int(time.time()), **meta, **refs}


def grouped(entries: list[tuple[str, dict[str, Any]]]) -> State:
    """Metas by key, in their order."""
    state: State = {}
    for key, meta in entries:
        state.setdefault(key, {"metas": []})["metas"].append(meta)
    return state
