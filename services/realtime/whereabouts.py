"""What GetPresence answers, from what crown/presence.py knows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from crown.notification.v1.realtime_service_pb2 import GetPresenceRequest, GetPresenceResponse, Presence
from crown.presence import Crowd, Seen


class Whereabouts(Protocol):
    """Knows who is connected, on every node: crown.presence.Presence. Each method raises NotReady."""

    async def of_people(self, user_ids: Collection[str]) -> dict[str, Seen]:
        """These people."""

    async def of_topic(self, topic: str) -> Crowd:
        """Who is on `topic`."""


async def answer(known: Whereabouts, request: GetPresenceRequest) -> GetPresenceResponse:
    """Who is there. Raises NotReady."""
    if request.topic:
        return await _of_topic(known, request.topic)
    user_ids = [request.user_id] if request.user_id else list(request.user_ids)
    found = await known.of_people(user_ids)
    people = [_person(user_id, found[user_id]) for user_id in user_ids]
    return GetPresenceResponse(people=people, online_count=sum(seen.online for seen in found.values()))


async def _of_topic(known: Whereabouts, topic: str) -> GetPresenceResponse:
    crowd = await known.of_topic(topic)
    people = [_person(user_id, seen) for user_id, seen in crowd.people.items()]
    return GetPresenceResponse(people=people, online_count=crowd.count)


def _person(user_id: str, seen: Seen) -> Presence:
    found = Presence(user_id=user_id, online=seen.online, sockets=seen.sockets)
    if seen.last_active_time is not None:
        found.last_active_time.FromDatetime(seen.last_active_time)
    return found
