"""What was revoked, as a process gets to know it from a real NATS: at once, at its start, and where word was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crown import revocations, subjects
from crown.auth import Principal
from crown.bus import Bus, Outgoing
from crown.errors import BusUnavailable
from crown.notification.v1.events_pb2 import DisconnectEvent
from crown.revocations import Revocations
from tests.integration.local import Local
from tests.integration.rig import Rig, until


def principal(user_id: str, session: str = "phone") -> Principal:
    """Whose token is a minute old."""
    return Principal("user", user_id, frozenset(), time.time() + 600, session, time.time() - 60)


async def revoke(local: Local, user_id: str, session: str = "") -> None:
    event = DisconnectEvent(user_id=user_id, session_id=session)
    event.revoke_time.GetCurrentTime()
    await local.bus.publish(Outgoing(subjects.revoked(user_id, session), event.SerializeToString()))


async def refuses(known: Revocations, user_id: str) -> None:
    """Returns when it does."""

    async def found() -> bool:
        return known.refuses(principal(user_id))

    await until(found, within_s=5)


@pytest.fixture
async def bus(rig: Rig) -> AsyncIterator[Bus]:
    """A connection of its own."""
    found = await Bus.connect(rig.settings(), "another")
    yield found
    await found.close()


@asynccontextmanager
async def watching(known: Revocations) -> AsyncIterator[None]:
    watch = asyncio.create_task(known.watch())
    yield
    watch.cancel()


async def test_what_was_revoked_before_is_read_and_what_comes_is_heard(local: Local, bus: Bus) -> None:
    before, then, never = (local.somebody() for _ in range(3))
    await revoke(local, before)
    known = Revocations(bus)
    await known.start()
    assert known.refuses(principal(before))
    assert not known.refuses(principal(then))
    await revoke(local, then, "phone")
    await refuses(known, then)
    assert not known.refuses(principal(then, "laptop"))
    assert not known.refuses(principal(never))


async def test_word_that_was_lost_is_found_by_looking(
    local: Local, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "LOOK_PERIOD_S", 0.05)
    somebody, told = local.somebody(), list[str]()
    known = Revocations(bus)
    known.on_disconnect(lambda one: told.append(one.subject))
    await known.start()
    (heard,) = [one for one in bus.client._subs.values() if one.subject == subjects.REVOCATIONS]
    await heard.unsubscribe()
    async with watching(known):
        await revoke(local, somebody)
        await refuses(known, somebody)
        await asyncio.sleep(0.2)
    # Who is connected is cut off as well, once.
    assert told == [somebody]


async def test_without_nats_what_is_known_holds(
    local: Local, rig: Rig, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "LOOK_PERIOD_S", 0.05)
    somebody, later = local.somebody(), local.somebody()
    known = Revocations(bus)
    await known.start()
    await revoke(local, somebody)
    await refuses(known, somebody)
    async with watching(known):
        await rig.killed("nats")
        assert known.refuses(principal(somebody))

        async def back() -> bool:
            return bus.connected and local.bus.connected

        await until(back, within_s=30)
        await revoke(local, later)
        await refuses(known, later)
        assert known.refuses(principal(somebody))


async def test_who_cannot_read_them_does_not_begin(local: Local, bus: Bus) -> None:
    await local.bus.api(f"STREAM.DELETE.{subjects.REVOKED}")
    try:
        with pytest.raises(BusUnavailable, match="cannot be read"):
            await Revocations(bus).start()
    finally:
        await local.bus.ensure()
