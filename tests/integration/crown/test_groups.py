"""Groups on a real store: members, what a deleted group leaves, and how much is asked."""

from __future__ import annotations

import asyncio

import pytest

from crown import groups as module
from crown.groups import Group, Groups
from tests.integration.local import Local


@pytest.fixture
def groups(local: Local) -> Groups:
    return Groups(local.db)


@pytest.fixture
async def group(local: Local, groups: Groups) -> Group:
    """A new one."""
    return await groups.put(local.somebody(), "group", False)


async def queries(local: Local) -> int:
    """How many the store has answered so far."""
    return int((await local.db.client.admin.command("serverStatus"))["opcounters"]["query"])


async def test_who_is_in(groups: Groups, group: Group) -> None:
    assert await groups.add(group, ["a", "b", "a"]) == 2
    assert await groups.add(group, ["b", "c"]) == 1
    assert [await groups.membership((group.group_id, who)) for who in "abcd"] == [group] * 3 + [None]
    assert await groups.remove(group, ["b", "d"]) == 1
    assert [await groups.membership((group.group_id, who)) for who in "abcd"] == [group, None, group, None]


async def test_no_other_group_lets_one_in(groups: Groups, group: Group) -> None:
    other = await groups.put(f"{group.group_id}-2", "chat", True)
    await groups.add(other, ["a"])
    assert await groups.membership((group.group_id, "a")) is None
    assert await groups.membership((f"{other.group_id}/a", "")) is None
    assert await groups.membership((other.group_id, "a")) == other


async def test_many_who_ask_at_once_are_one_question(local: Local, groups: Groups, group: Group) -> None:
    people = [f"p{number}" for number in range(200)]
    await groups.add(group, people[:100])
    before = await queries(local)
    found = await asyncio.gather(*(groups.membership((group.group_id, who)) for who in people))
    assert found == [group] * 100 + [None] * 100
    assert await queries(local) - before <= 4


async def test_a_put_replaces_and_keeps_kind_time_and_members(groups: Groups, group: Group) -> None:
    await groups.add(group, ["a"])
    changed = await groups.put(group.group_id, "group", True)
    assert changed == Group(group.group_id, "group", True, group.create_time)
    assert await groups.membership((group.group_id, "a")) == changed
    assert await groups.put(group.group_id, "chat", False) == changed


async def test_of_many_who_make_it_at_once_one_does(local: Local, groups: Groups) -> None:
    group_id = local.somebody()
    made = await asyncio.gather(*(groups.put(group_id, kind, False) for kind in module.KINDS * 10))
    assert len(set(made)) == 1


async def test_a_deleted_group_is_gone_at_once_and_cleared_later(
    local: Local, groups: Groups, group: Group
) -> None:
    await groups.add(group, ["a", "b"])
    assert await groups.delete(group.group_id) == group
    assert await groups.group(group.group_id) is None
    assert await groups.membership((group.group_id, "a")) is None
    assert group.group_id in await groups.deleted(100)
    assert not await groups.clear(group.group_id, 0)
    assert await groups.clear(group.group_id, 5)
    assert await local.db.members.count_documents({"group_id": group.group_id}) == 0
    assert await local.db.groups.count_documents({"_id": group.group_id}) == 0
    assert await groups.clear(group.group_id, 5)
    assert await groups.delete(group.group_id) is None


async def test_a_new_group_of_the_same_name_has_nobody(groups: Groups, group: Group) -> None:
    """Also where the one that cleared the old one died over it."""
    await groups.add(group, ["a", "b"])
    await groups.delete(group.group_id)
    await asyncio.sleep(0.002)
    again = await groups.put(group.group_id, "chat", False)
    assert (again.kind, again.create_time > group.create_time) == ("chat", True)
    assert await groups.membership((again.group_id, "a")) is None
    assert await groups.members(again, 10) == []
    assert await groups.remove(again, ["b"]) == 0
    assert await groups.add(again, ["a", "c"]) == 2
    assert [member.user_id for member in await groups.members(again, 10)] == ["a", "c"]


async def test_clearing_the_old_one_leaves_the_new_one_alone(
    local: Local, groups: Groups, group: Group
) -> None:
    await groups.add(group, ["a", "b"])
    await groups.delete(group.group_id)
    mark = await local.db.groups.find_one({"_id": group.group_id})
    assert mark is not None
    await asyncio.sleep(0.002)
    again = await groups.put(group.group_id, "group", False)
    await groups.add(again, ["a"])
    # As if it had been made between two slices of the clearing.
    await local.db.groups.replace_one({"_id": group.group_id}, mark)
    assert await groups.clear(group.group_id, 5)
    left = [row["user_id"] async for row in local.db.members.find({"group_id": group.group_id})]
    assert left == ["a"]


async def test_a_large_group_is_cleared_in_slices(
    groups: Groups, group: Group, monkeypatch: pytest.MonkeyPatch, local: Local
) -> None:
    monkeypatch.setattr(module, "_SLICE", 100)
    await groups.add(group, [f"{number}" for number in range(1_000)])
    await groups.delete(group.group_id)
    assert await groups.clear(group.group_id, 10)
    assert await local.db.members.count_documents({"group_id": group.group_id}) == 0
