"""GroupService on real servers: who is in, by pages, and what the nodes hear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from typing import Any

import pytest
import structlog
from nats.aio.subscription import Subscription

from crown import subjects
from crown.bus import Bus
from crown.errors import InvalidRequest, NotFound
from crown.groups import Groups
from crown.notification.v1 import group_service_pb2 as pb
from crown.notification.v1.events_pb2 import EphemeralEvent
from crown.notification.v1.types_pb2 import GroupKind
from services.ingest import groups as module
from services.ingest.books.disband import Disbander
from services.ingest.groups import GroupService
from tests.integration.local import Local
from tests.integration.rig import Rig, until

PEOPLE = [f"p{number:04}" for number in range(1_000)]


@pytest.fixture
def service(local: Local) -> GroupService:
    return GroupService(local.bus, local.db)


async def made(local: Local, service: GroupService, *people: str, **given: Any) -> str:
    """A new group with these people."""
    group_id = local.somebody()
    await update(service, group_id, **given)
    if people:
        await service.AddMembers(pb.AddMembersRequest(group_id=group_id, user_ids=people), None)
    return group_id


async def update(service: GroupService, group_id: str, **given: Any) -> pb.UpdateGroupResponse:
    return await service.UpdateGroup(pb.UpdateGroupRequest(group_id=group_id, group=pb.Group(**given)), None)


async def listed(service: GroupService, group_id: str, **given: Any) -> pb.ListMembersResponse:
    return await service.ListMembers(pb.ListMembersRequest(group_id=group_id, **given), None)


async def hears(local: Local, topic: str) -> Subscription:
    """A node that holds this topic."""
    found = await local.bus.client.subscribe(subjects.live(topic))
    await local.bus.client.flush()
    return found


async def heard(node: Subscription) -> EphemeralEvent:
    message = await node.next_msg(timeout=5)
    # Events with a sequence are told from these by it.
    assert message.headers is None
    return EphemeralEvent.FromString(message.data)


async def test_a_thousand_come_in_are_listed_by_pages_and_go(local: Local, service: GroupService) -> None:
    group_id = await made(local, service)
    request = pb.AddMembersRequest(group_id=group_id, user_ids=PEOPLE)
    assert (await service.AddMembers(request, None)).added == 1_000
    assert (await service.AddMembers(request, None)).added == 0
    seen: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        page = await listed(service, group_id, limit=300, cursor=cursor)
        seen += [member.user_id for member in page.members]
        cursor, pages = page.next_cursor, pages + 1
    assert (seen, pages) == (PEOPLE, 4)
    assert len((await listed(service, group_id)).members) == 100
    removal = pb.RemoveMembersRequest(group_id=group_id, user_ids=[*PEOPLE[1:], "stranger"])
    assert (await service.RemoveMembers(removal, None)).removed == 999
    left = await listed(service, group_id, limit=1)
    assert ([member.user_id for member in left.members], left.next_cursor) == (PEOPLE[:1], "")
    assert left.members[0].join_time.ToSeconds() > 0


async def streamed(service: GroupService, group_id: str, **given: Any) -> list[list[str]]:
    """The pages of a stream."""
    pages = service.StreamMembers(pb.StreamMembersRequest(group_id=group_id, **given), None)
    return [[member.user_id for member in page.members] async for page in pages]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (10, [10]), (25, [10, 10, 5])])
async def test_all_are_streamed_page_by_page(
    local: Local, service: GroupService, monkeypatch: pytest.MonkeyPatch, count: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(module, "PAGE", 10)
    group_id = await made(local, service, *PEOPLE[:count])
    pages = await streamed(service, group_id)
    assert [len(page) for page in pages] == sizes
    assert [*chain(*pages)] == PEOPLE[:count]
    assert [*chain(*await streamed(service, group_id, after=PEOPLE[1]))] == PEOPLE[2:count]


async def test_a_stream_ends_when_its_group_is_another(
    local: Local, service: GroupService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted, or made anew under the same name."""
    monkeypatch.setattr(module, "PAGE", 10)
    for anew in (False, True):
        group_id = await made(local, service, *PEOPLE[:20])
        pages = service.StreamMembers(pb.StreamMembersRequest(group_id=group_id), None)
        await anext(pages)
        await service.DeleteGroup(pb.DeleteGroupRequest(group_id=group_id), None)
        if anew:
            await update(service, group_id)
        with pytest.raises(NotFound):
            await anext(pages)
    with pytest.raises(NotFound):
        await streamed(service, "no-such-group")


async def test_what_was_got_can_be_put_back(local: Local, service: GroupService) -> None:
    group_id = await made(local, service, kind=GroupKind.CHAT, client_events=True)
    got = await service.GetGroup(pb.GetGroupRequest(group_id=group_id), None)
    assert (got.group_id, got.kind, got.client_events) == (group_id, GroupKind.CHAT, True)
    back = pb.Group.FromString(got.SerializeToString())
    put = await service.UpdateGroup(pb.UpdateGroupRequest(group_id=group_id, group=back), None)
    assert put.SerializeToString() == got.SerializeToString()


async def test_a_put_replaces(local: Local, service: GroupService) -> None:
    group_id = await made(local, service, "a", client_events=True)
    assert not (await update(service, group_id)).client_events
    assert [member.user_id for member in (await listed(service, group_id)).members] == ["a"]


@pytest.mark.parametrize(
    ("kind", "other"),
    [(GroupKind.CHAT, GroupKind.GROUP), (GroupKind.CHAT, GroupKind.KIND_UNSPECIFIED), (0, GroupKind.CHAT)],
)
async def test_a_kind_never_changes(local: Local, service: GroupService, kind: Any, other: Any) -> None:
    group_id = await made(local, service, kind=kind)
    before = await service.GetGroup(pb.GetGroupRequest(group_id=group_id), None)
    with pytest.raises(InvalidRequest) as caught:
        await update(service, group_id, kind=other, client_events=True)
    assert [violation.field for violation in caught.value.violations] == ["group.kind"]
    assert await service.GetGroup(pb.GetGroupRequest(group_id=group_id), None) == before


async def test_nodes_hear_who_is_removed(local: Local, service: GroupService) -> None:
    group_id = await made(local, service, "a", "b", kind=GroupKind.CHAT)
    node = await hears(local, f"chat:{group_id}")
    # Also of who was not in: whoever removed them may have died before this was told.
    await service.RemoveMembers(pb.RemoveMembersRequest(group_id=group_id, user_ids=["a", "z"]), None)
    assert await heard(node) == EphemeralEvent(removed=["a", "z"])
    assert await Groups(local.db).membership((group_id, "a")) is None


async def test_nodes_hear_that_a_group_is_gone(local: Local, service: GroupService) -> None:
    group_id = await made(local, service, "a")
    node = await hears(local, f"group:{group_id}")
    await service.DeleteGroup(pb.DeleteGroupRequest(group_id=group_id), None)
    assert await heard(node) == EphemeralEvent(closed=True)
    assert await local.db.members.count_documents({"group_id": group_id}) == 0
    assert await local.db.groups.count_documents({"_id": group_id}) == 0
    # And once more, harmlessly.
    await service.DeleteGroup(pb.DeleteGroupRequest(group_id=group_id), None)


async def test_without_a_group_there_is_nothing_to_do(service: GroupService) -> None:
    for call in (
        service.GetGroup(pb.GetGroupRequest(group_id="none"), None),
        service.AddMembers(pb.AddMembersRequest(group_id="none", user_ids=["a"]), None),
        service.RemoveMembers(pb.RemoveMembersRequest(group_id="none", user_ids=["a"]), None),
        service.ListMembers(pb.ListMembersRequest(group_id="none"), None),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_group_that_is_too_large_to_wait_for_is_cleared_later(
    local: Local, service: GroupService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CLEAR_S", 0)
    group_id = await made(local, service, *PEOPLE)
    await service.DeleteGroup(pb.DeleteGroupRequest(group_id=group_id), None)
    assert await Groups(local.db).membership((group_id, PEOPLE[0])) is None
    assert await local.db.members.count_documents({"group_id": group_id}) == 1_000
    async with local.working(Disbander(local.store, 0.05).run):
        await until(lambda: local.db.groups.count_documents({"_id": group_id}), lambda count: count == 0)
    assert await local.db.members.count_documents({"group_id": group_id}) == 0


@pytest.fixture
async def away(rig: Rig) -> AsyncIterator[Bus]:
    """A bus whose server dies now; one of its own, so that others keep theirs."""
    bus = await Bus.connect(rig.settings(), "away")
    killing = asyncio.create_task(rig.killed("nats"))
    await until(lambda: _is(not bus.connected))
    yield bus
    await killing
    await bus.close()


async def _is(found: bool) -> bool:
    return found


async def test_a_bus_that_is_away_keeps_nobody_in(local: Local, away: Bus) -> None:
    service = GroupService(away, local.db)
    group_id = await made(local, service, "a", "b")
    with structlog.testing.capture_logs() as logged:
        removal = pb.RemoveMembersRequest(group_id=group_id, user_ids=["a"])
        assert (await service.RemoveMembers(removal, None)).removed == 1
        await service.DeleteGroup(pb.DeleteGroupRequest(group_id=group_id), None)
    if not away.connected:
        assert [line["event"] for line in logged] == ["removal_untold"] * 2
    assert await Groups(local.db).membership((group_id, "b")) is None
