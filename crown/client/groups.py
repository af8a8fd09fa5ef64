"""Groups and chats, and who is in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from itertools import islice

import grpc

from crown.client.calls import Calls
from crown.notification.v1 import group_service_pb2 as pb
from crown.notification.v1.group_service_pb2_grpc import GroupServiceStub
from crown.notification.v1.types_pb2 import GroupKind

# What one call may hold.
_PEOPLE_MOST = 1_000


class Groups:
    """Groups and their members. Everything here is made again where an answer got lost."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = GroupServiceStub(channel)
        self._calls = calls

    async def get(self, group_id: str) -> pb.GetGroupResponse:
        """A group. Raises NotFound."""
        return await self._calls.unary(self._stub.GetGroup, pb.GetGroupRequest(group_id=group_id))

    async def put(
        self,
        group_id: str,
        *,
        kind: GroupKind.Type.ValueType = GroupKind.GROUP,
        client_events: bool = False,
    ) -> pb.UpdateGroupResponse:
        """Makes a group, or replaces what one is; its members stay. With `client_events` they may send each other
        events of their own."""
        group = pb.Group(kind=kind, client_events=client_events)
        request = pb.UpdateGroupRequest(group_id=group_id, group=group)
        return await self._calls.unary(self._stub.UpdateGroup, request)

    async def delete(self, group_id: str) -> None:
        """Deletes a group; one that is not there is deleted already."""
        await self._calls.unary(self._stub.DeleteGroup, pb.DeleteGroupRequest(group_id=group_id))

    async def add(self, group_id: str, user_ids: Iterable[str]) -> int:
        """Adds people, a thousand a call, and answers how many were not in. After an error some may be in."""
        added = 0
        for part in _parts(user_ids):
            request = pb.AddMembersRequest(group_id=group_id, user_ids=part)
            added += (await self._calls.unary(self._stub.AddMembers, request)).added
        return added

    async def remove(self, group_id: str, user_ids: Iterable[str]) -> int:
        """Removes people, a thousand a call, and answers how many were in. After an error some may be out."""
        removed = 0
        for part in _parts(user_ids):
            request = pb.RemoveMembersRequest(group_id=group_id, user_ids=part)
            removed += (await self._calls.unary(self._stub.RemoveMembers, request)).removed
        return removed

    async def members(self, group_id: str) -> AsyncIterator[pb.Member]:
        """All members by user id, a call for each thousand; each of the calls is tried again."""
        request = pb.ListMembersRequest(group_id=group_id, limit=_PEOPLE_MOST)
        while True:
            page = await self._calls.unary(self._stub.ListMembers, request)
            for member in page.members:
                yield member
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor

    async def stream_members(self, group_id: str, *, after: str = "") -> AsyncIterator[pb.Member]:
        """The members that come after `after` by user id, in one stream, which is the fastest. It may break off:
        go on after the last one that came."""
        request = pb.StreamMembersRequest(group_id=group_id, after=after)
        async with aclosing(self._calls.stream(self._stub.StreamMembers, request)) as pages:
            async for page in pages:
                for member in page.members:
                    yield member


def _parts(user_ids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(user_ids)
    while part := list(islice(left, _PEOPLE_MOST)):
        yield part
