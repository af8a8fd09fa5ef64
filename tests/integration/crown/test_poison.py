"""Deliveries that kill who works on them, workers that sleep and wake too late, and messages that come again: who
is put aside, who goes on, and what is sent how often."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from crown import delivery, lease, subjects
from crown.bus import BusError
from crown.delivery import Engine
from crown.judgement import KILLED_MOST
from crown.lease import LeaseOver
from crown.ledger import Change, Claim, Entry
from crown.notification.v1.types_pb2 import Channel
from crown.outcome import Delivered, Outcome, Retry
from crown.provider import Attempt
from crown.pull import Message
from tests.integration.crown.scripted import Scripted, delivering, engine
from tests.integration.local import Local
from tests.integration.rig import until

pytestmark = pytest.mark.usefixtures("quick")

ADDRESS = {"device_tokens": ["token"], "phone": "+14155550123", "email": "ann@example.org"}
TO_PROVIDER = "DELIVERED_TO_PROVIDER"
NEIGHBOURS = 12


@pytest.fixture(scope="module")
async def dispatching(local: Local) -> AsyncIterator[None]:
    """A dispatcher works all the time."""
    async with local.dispatching():
        yield


@pytest.fixture
def busy(dispatching: None, local: Local, monkeypatch: pytest.MonkeyPatch) -> Local:
    """Everything, while a dispatcher works, and a life is short."""
    monkeypatch.setattr(delivery, "LEASE_S", 0.7)
    monkeypatch.setattr(delivery, "_FRESH_S", 0.3)
    return local


class Deadly:
    """Engines that die, as by SIGKILL, of one person's delivery: while it is prepared, or at the provider."""

    def __init__(self, local: Local, channel: str, where: str, person: str) -> None:
        self._local = local
        self._channel = channel
        self._where = where
        self._person = person
        self._died = asyncio.Event()
        self.provider = Scripted()
        self.deaths = 0

    async def _die(self) -> None:
        self._died.set()
        # Whatever else it did, it was not heard of again.
        await asyncio.Event().wait()

    async def live(self) -> None:
        """Works until it dies."""
        self._died.clear()
        made = engine(self._local, getattr(Channel, self._channel), self.provider)
        self._poison(made)
        stopping = asyncio.Event()
        work = asyncio.create_task(made.run(stopping, grace_s=0))
        try:
            await self._died.wait()
            self.deaths += 1
        finally:
            # No grace: what is under way is broken off at once, and settles nothing.
            stopping.set()
            await work

    def _poison(self, made: Engine) -> None:
        prepare, send = made._desk.prepare, self.provider.send

        async def prepares(entry: Entry) -> Attempt | Change:
            if self._where == "desk" and entry.event.user_id == self._person:
                await self._die()
            return await prepare(entry)

        async def sends(attempt: Attempt) -> Outcome:
            if self._where == "provider" and attempt.user_id == self._person:
                await self._die()
            return await send(attempt)

        made._desk.prepare = prepares  # type: ignore[method-assign]
        made._route._members[0].provider = self._other(sends)

    def _other(self, sends: Callable[[Attempt], object]) -> Scripted:
        other = Scripted(self.provider.name, sent=self.provider.sent)
        other.send = sends  # type: ignore[method-assign, assignment]
        return other


async def forget_deliveries(local: Local, channel: str) -> None:
    """What the bus knows of how often a message came is gone, as after the loss of its disk."""
    for lane in subjects.LANES.values():
        for consumer in (subjects.worker(channel, lane), subjects.retrier(channel, lane)):
            with contextlib.suppress(BusError):
                await local.bus.api(f"CONSUMER.DELETE.{consumer.stream}.{consumer.name}")


async def lives(local: Local, channel: str, where: str, *, forgetful: bool) -> Deadly:
    """One that kills, and its neighbours, until no more die of it."""
    person = local.somebody()
    deadly = Deadly(local, channel, where, person)
    name = channel.lower()
    poison = await local.send(type=channel, address=ADDRESS, user_id=person)
    others = [await local.send(type=channel, address=ADDRESS) for _ in range(NEIGHBOURS)]
    ended = asyncio.create_task(local.becomes(poison, name, "FAILED", 40))
    while not ended.done():
        life = asyncio.create_task(deadly.live())
        await asyncio.wait({life, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            for other in others:
                await local.becomes(other, name, TO_PROVIDER)
            life.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await life
        if forgetful:
            await forget_deliveries(local, name)
    assert await ended == "POISON_KILLED_WORKER"
    reasons = [one.reason for one in await local.letters(name) if one.delivery.notification_id == poison]
    assert reasons == ["POISON_KILLED_WORKER"]
    # What was under way beside it when its worker died may go twice; it never goes missing.
    sent = Counter(attempt.user_id for attempt in deadly.provider.sent)
    assert len(sent) == NEIGHBOURS
    assert person not in sent
    return deadly


async def test_what_kills_its_workers_is_put_aside_and_the_others_go_on(busy: Local) -> None:
    desk, provider = await asyncio.gather(
        lives(busy, "SMS", "desk", forgetful=True), lives(busy, "EMAIL", "provider", forgetful=False)
    )
    assert provider.deaths == KILLED_MOST
    # What happens while the message is new is not noted.
    assert KILLED_MOST - 1 <= desk.deaths <= KILLED_MOST + 1


async def test_what_is_put_off_is_no_suspect(busy: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that comes again and again because no provider could take it has killed nobody."""
    monkeypatch.setattr(delivery, "_PAUSED_MOST_S", 0.05)
    monkeypatch.setattr(delivery, "_FRESH_S", 0.0)
    provider = Scripted()
    made = engine(busy, Channel.SMS, provider)
    choose, turns = made._route.choose, 0

    def none(last: str = "") -> object:
        nonlocal turns
        turns += 1
        return None if turns <= 2 * KILLED_MOST else choose(last)

    monkeypatch.setattr(made._route, "choose", none)
    monkeypatch.setattr(made, "_put_off_s", lambda: 0.05)
    async with busy.working(made.run):
        notification_id = await busy.send(type="SMS", address=ADDRESS)
        await busy.becomes(notification_id, "sms", TO_PROVIDER)
    assert turns > 2 * KILLED_MOST
    starts = [row async for row in busy.db.claims.find({"_id": {"$regex": ":starts$"}, "starts": {"$gt": 1}})]
    (row,) = await busy.rows(notification_id)
    assert [one for one in starts if one["row"] == row["_id"]] == []


async def test_a_worker_that_slept_does_not_send_what_a_peer_took_over(
    busy: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a signal after its claim; when it wakes, another one has gone on."""
    person, asleep, slept = busy.somebody(), asyncio.Event(), asyncio.Event()
    zombie, peer = Scripted("carrier"), Scripted("carrier")
    peer.found[person] = Retry("NOT_LISTED")
    first = engine(busy, Channel.SMS, zombie)
    lanes, claim = first._lanes(), first._ledger.claim

    async def sleepy(wanted: Claim) -> bool:
        won = await claim(wanted)
        asleep.set()
        await slept.wait()
        return won

    monkeypatch.setattr(first._ledger, "claim", sleepy)
    monkeypatch.setattr(first, "_lanes", lambda: lanes)
    # A process that is stopped extends nothing.
    monkeypatch.setattr(Message, "in_progress", lambda _self: asyncio.sleep(0))
    async with busy.working(first.run):
        notification_id = await busy.send(type="SMS", address=ADDRESS, user_id=person)
        async with asyncio.timeout(10):
            await asleep.wait()
        await lanes.stop()
        monkeypatch.setattr(lanes, "stop", lambda: asyncio.sleep(0))
        async with delivering(busy, Channel.SMS, peer):
            await busy.becomes(notification_id, "sms", TO_PROVIDER)
            slept.set()
            await asyncio.sleep(0.3)
    assert (len(zombie.sent), len(peer.sent_to(person))) == (0, 1)


async def test_a_worker_that_slept_alone_says_that_it_sent_nothing(
    busy: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a text whose policy is to be left where nobody can say is sent all the same."""
    provider = Scripted("carrier")
    made = engine(busy, Channel.SMS, provider)
    claim = made._ledger.claim

    async def sleepy(wanted: Claim) -> bool:
        won = await claim(wanted)
        await asyncio.sleep(0.4 if wanted.number == 1 else 0)
        return won

    monkeypatch.setattr(made._ledger, "claim", sleepy)
    async with busy.working(made.run):
        notification_id = await busy.send(type="SMS", address=ADDRESS)
        await busy.becomes(notification_id, "sms", TO_PROVIDER)
    (attempt,) = provider.sent
    assert attempt.number == 2
    (row,) = await busy.rows(notification_id)
    found = row["deliveries"]["sms"]
    assert (found["unknowns"], found["kills"]) == (0, 0)


async def test_what_came_too_late_to_be_written_is_sent_by_the_next_attempt(busy: Local) -> None:
    """A worker that was stopped behind the first look at its claim: it looks again before it writes."""

    async def slept(_attempt: Attempt) -> Outcome:
        await asyncio.sleep(delivery.LEASE_S)
        with pytest.raises(LeaseOver):
            lease.last_look()
        return lease.OVER

    async def awake(_attempt: Attempt) -> Outcome:
        lease.last_look()
        return Delivered("m")

    person, provider = busy.somebody(), Scripted("carrier")
    provider.steps[person] = [slept, awake]
    async with delivering(busy, Channel.SMS, provider):
        notification_id = await busy.send(type="SMS", address=ADDRESS, user_id=person)
        await busy.becomes(notification_id, "sms", TO_PROVIDER)
    (row,) = await busy.rows(notification_id)
    found = row["deliveries"]["sms"]
    assert (found["claims"], found["unknowns"], found["kills"]) == (2, 0, 0)


async def test_acks_that_get_lost_send_nothing_twice(busy: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    ack, lost = Message.ack, 0

    async def eaten(self: Message) -> None:
        nonlocal lost
        if self.deliveries > 1:
            await ack(self)
        else:
            lost += 1

    monkeypatch.setattr(Message, "ack", eaten)
    provider = Scripted()
    async with delivering(busy, Channel.PUSH, provider):
        found = [await busy.send(type="PUSH", address=ADDRESS) for _ in range(10)]
        for one in found:
            await busy.becomes(one, "push", TO_PROVIDER)
        consumers = [subjects.worker("push", lane) for lane in subjects.LANES.values()]

        async def open_messages() -> int:
            return sum([await busy.backlog(consumer) for consumer in consumers])

        await until(open_messages, lambda count: count == 0)
    assert lost >= 10
    assert Counter(attempt.notification_id for attempt in provider.sent) == Counter(found)


async def test_work_that_outlasts_the_wait_for_an_ack_is_done_once(busy: Local) -> None:
    """Half as long again; and nobody else gets the message meanwhile."""
    sent: list[Attempt] = []
    providers = [Scripted(slow_s=3.0, sent=sent) for _ in range(2)]
    async with delivering(busy, Channel.PUSH, providers[0]), delivering(busy, Channel.PUSH, providers[1]):
        notification_id = await busy.send(type="PUSH", address=ADDRESS)
        await busy.becomes(notification_id, "push", TO_PROVIDER)
    assert len(sent) == 1
    (row,) = await busy.rows(notification_id)
    assert row["deliveries"]["push"]["unknowns"] == 0
