"""GroupService: groups, chats, and who is in them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from crown import logs, subjects
from crown.bus import Bus, Outgoing
from crown.clock import timestamp
from crown.errors import BusUnavailable, InvalidRequest, NotFound, Violation
from crown.groups import Group, Groups, Member
from crown.notification.v1 import group_service_pb2 as pb
from crown.notification.v1.events_pb2 import EphemeralEvent
from crown.notification.v1.types_pb2 import GroupKind
from crown.store import Database

log = logs.get(__name__)

LIMIT = 100
# Members of a page of a stream.
PAGE = 1_000
# People whom one event removes; an event of all ids at their longest is far below what NATS takes.
_REMOVED_MOST = 1_000
# Seconds that a deletion spends on memberships before it answers; what is left goes later, see disband.py.
_CLEAR_S = 3.0
_MARK = "member:"
_KINDS: dict[GroupKind.Type.ValueType, str] = {
    GroupKind.KIND_UNSPECIFIED: "group",
    GroupKind.GROUP: "group",
    GroupKind.CHAT: "chat",
}
_KIND_OF = {name: value for value, name in _KINDS.items()}


class GroupService:
    """The servicer."""

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._groups = Groups(db)

    async def GetGroup(self, request: pb.GetGroupRequest, _context: Any) -> pb.GetGroupResponse:
        """The group."""
        return pb.GetGroupResponse(**_fields(await self._group(request.group_id)))

    async def UpdateGroup(self, request: pb.UpdateGroupRequest, _context: Any) -> pb.UpdateGroupResponse:
        """Makes it, or replaces what it is."""
        kind = _KINDS[request.group.kind]
        group = await self._groups.put(request.group_id, kind, request.group.client_events)
        if group.kind != kind:
            name = GroupKind.Type.Name(_KIND_OF[group.kind])
            what = f"must be {name}, as the group is: its kind never changes"
            raise InvalidRequest.of([Violation("group.kind", what, "kind")])
        return pb.UpdateGroupResponse(**_fields(group))

    async def DeleteGroup(self, request: pb.DeleteGroupRequest, _context: Any) -> pb.DeleteGroupResponse:
        """Deletes it."""
        group = await self._groups.delete(request.group_id)
        if group is not None:
            await self._tell(group, [EphemeralEvent(closed=True)])
            await self._groups.clear(request.group_id, _CLEAR_S)
        return pb.DeleteGroupResponse()

    async def AddMembers(self, request: pb.AddMembersRequest, _context: Any) -> pb.AddMembersResponse:
        """Adds people."""
        group = await self._group(request.group_id)
        return pb.AddMembersResponse(added=await self._groups.add(group, request.user_ids))

    async def RemoveMembers(
        self, request: pb.RemoveMembersRequest, _context: Any
    ) -> pb.RemoveMembersResponse:
        """Removes people."""
        group = await self._group(request.group_id)
        removed = await self._groups.remove(group, request.user_ids)
        # All of them, also who was not in: an earlier call may have removed them and not lived to tell.
        await self._tell(group, list(_removals(request.user_ids)))
        return pb.RemoveMembersResponse(removed=removed)

    async def ListMembers(self, request: pb.ListMembersRequest, _context: Any) -> pb.ListMembersResponse:
        """One page."""
        limit = request.limit if request.HasField("limit") else LIMIT
        after = _place(request.cursor) if request.cursor else ""
        group = await self._group(request.group_id)
        found = await self._groups.members(group, limit + 1, after)
        page = found[:limit]
        return pb.ListMembersResponse(
            members=_members(page),
            next_cursor=_cursor(page[-1].user_id) if len(found) > limit else "",
        )

    async def StreamMembers(
        self, request: pb.StreamMembersRequest, _context: Any
    ) -> AsyncGenerator[pb.StreamMembersResponse, None]:
        """All pages. The group is looked for before each: one that is deleted and made anew is another."""
        after = request.after
        created = None
        while True:
            group = await self._group(request.group_id)
            if group.create_time != (created := created or group.create_time):
                raise NotFound("the group was deleted")
            found = await self._groups.members(group, PAGE, after)
            if found:
                yield pb.StreamMembersResponse(members=_members(found))
            if len(found) < PAGE:
                return
            after = found[-1].user_id

    async def _group(self, group_id: str) -> Group:
        group = await self._groups.group(group_id)
        if group is None:
            raise NotFound("there is no group with this id")
        return group

    async def _tell(self, group: Group, events: Sequence[EphemeralEvent]) -> None:
        """Has every node send people away from the topic. Nodes look at the store themselves now and then, so
        that nobody stays for ever who was not told of."""
        subject = subjects.live(group.topic)
        try:
            await self._bus.tell(Outgoing(subject, event.SerializeToString()) for event in events)
        except BusUnavailable:
            log.warning("removal_untold", kind=group.kind)


def _members(found: Sequence[Member]) -> list[pb.Member]:
    return [pb.Member(user_id=one.user_id, join_time=timestamp(one.join_time)) for one in found]


def _removals(user_ids: Sequence[str]) -> Iterator[EphemeralEvent]:
    for first in range(0, len(user_ids), _REMOVED_MOST):
        yield EphemeralEvent(removed=user_ids[first : first + _REMOVED_MOST])


def _fields(group: Group) -> dict[str, Any]:
    return {
        "group_id": group.group_id,
        "kind": _KIND_OF[group.kind],
        "client_events": group.client_events,
        "create_time": timestamp(group.create_time),
    }


def _cursor(user_id: str) -> str:
    """The place after this member, opaque to callers."""
    return base64.urlsafe_b64encode(f"{_MARK}{user_id}".encode()).decode()


def _place(cursor: str) -> str:
    """The member after whom `cursor` goes on. Raises InvalidRequest."""
    try:
        text = base64.b64decode(cursor.encode(), b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    if not text.startswith(_MARK):
        violation = Violation("cursor", "must be a next_cursor of an earlier answer", "page")
        raise InvalidRequest.of([violation])
    return text.removeprefix(_MARK)
