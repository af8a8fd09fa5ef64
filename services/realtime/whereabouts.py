"""What GetPresence answers, from what crown/presence.py knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crown import presence
from crown.notification.v1.realtime_service_pb2 import GetPresenceRequest, GetPresenceResponse, Presence
from crown.presence import Crowd, Seen


class Whereabouts(Protocol):
    """Knows who is connected, on every node: crown.presence.Presence. Each method raises NotReady."""

    async def of_people(self, user_ids: Sequence[str]) -> list[Seen]:
        """These people, in order."""

    async def of_topic(self, topic: str) -> Crowd:
        """Who is on `topic`."""


async def answer(known: Whereabouts, request: GetPresenceRequest) -> GetPresenceResponse:
    """Who is there. Raises NotReady."""
    if request.topic:
        return await _of_topic(known, request.topic)
    user_ids = [request.user_id] if request.user_id else list(request.user_ids)
    found = dict(zip(user_ids, await known.of_people(user_ids), strict=True))
    people = [_person(user_id, found[user_id], found[user_id].sockets) for user_id in user_ids]
    return GetPresenceResponse(people=people, online_count=sum(seen.online for seen in found.values()))


async def _of_topic(known: Whereabouts, topic: str) -> GetPresenceResponse:
    crowd = await known.of_topic(topic)
    listed = sorted(crowd.people)[: presence.LISTED_MOST]
    seen = await known.of_people(listed) if listed else []
    people = [_person(user_id, one, crowd.people[user_id]) for user_id, one in zip(listed, seen, strict=True)]
    # Of a crowd too large to look at, the sockets stand for the people.
    return GetPresenceResponse(people=people, online_count=len(crowd.people) or crowd.sockets)


def _person(user_id: str, seen: Seen, sockets: int) -> Presence:
    found = Presence(user_id=user_id, online=sockets > 0, sockets=sockets)
    if seen.last_active_time is not None:
        found.last_active_time.FromDatetime(seen.last_active_time)
    return found
