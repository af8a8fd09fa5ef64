"""The delivery engine, the same for every channel. It brings each delivery on the bus to its end:

    load → vet → open → resolve → claim → attempt → judge → record → settle

The claim is written before the provider is called, the outcome before the message is settled. So a crash at
any point leaves either nothing done, or a claim without an outcome, which is asked about at the provider and
else judged by crown/unknown.py. Retries are messages that JetStream schedules; nothing here sleeps on one."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from pymongo.errors import PyMongoError

from crown import backoff, failpoint, logs, metrics, notices, preferences, subjects
from crown.bus import Bus, BusError, Outgoing
from crown.clock import now
from crown.errors import CrownError
from crown.gather import Gather
from crown.judgement import final, judge, vet
from crown.lanes import Lanes
from crown.ledger import Change, Claim, Entry, Ledger
from crown.lookup import Lookup
from crown.notification.v1.events_pb2 import DeliveryEvent, NotificationContent
from crown.notification.v1.notification_pb2 import Address, NotificationData
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.outcome import Outcome, Unknown
from crown.provider import Attempt, Provider
from crown.pull import Message, Pull, ready
from crown.recipients import Destination
from crown.stopping import pause, wake_when
from crown.store import Store
from crown.unknown import asks_first
from crown.vault import Key, VaultError

log = logs.get(__name__)

# A claim without an outcome for this long belongs to a worker that is gone. More than any provider's time
# limit, less than the 30 s after which JetStream hands the message to another worker.
LEASE_S = 20.0
_EXTEND_S = 10.0
_STORE_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification's content in the clear."""

    data: NotificationData
    address: Address
    template_id: str
    collapse_key: str


class Engine:
    """The worker of one channel. `run` it; `healthy` tells whether it can work. Attempt n goes to the n-th
    of `providers`, around and around, so that a retry tries the next one."""

    def __init__(
        self,
        channel: Channel.Type.ValueType,
        providers: Sequence[Provider],
        bus: Bus,
        store: Store,
        data_key: Key,
        in_flight: int = 128,
        chance: random.Random | None = None,
    ) -> None:
        self._channel = channel
        self._name = subjects.NAMES[channel]
        self._providers = list(providers)
        self._bus = bus
        self._store = store
        self._ledger = Ledger(store.db)
        self._lookup = Lookup(store.db, data_key, channel)
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._chance = chance or random.Random()
        self._most = self._room = in_flight
        self._held: set[Message] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._store_away = False
        self._tell: Gather[Outgoing, None] = Gather(self._publish, most=500, parallel=4)

    # -- the loop

    async def run(self, stopping: asyncio.Event, grace_s: float = 10.0) -> None:
        """Works until `stopping` is set, then lets what is under way finish for `grace_s`. What is left then
        is redelivered to others."""
        lanes = self._lanes()
        await lanes.start()
        keeper = asyncio.create_task(self._extend_held(), name="extend")
        waker = asyncio.create_task(wake_when(stopping, self._wake), name="wake")
        try:
            while not stopping.is_set():
                if self._store_away:
                    await self._await_store(lanes, stopping)
                taken = await lanes.take(self._room) if self._room else []
                for message in taken:
                    self._begin(message)
                if not taken:
                    await ready(self._wake, stopping)
        finally:
            await lanes.stop()
            await self._drain(grace_s)
            keeper.cancel()
            waker.cancel()

    def _lanes(self) -> Lanes:
        window = max(2, self._most)
        return Lanes(
            {
                lane: [
                    Pull(self._bus, subjects.retrier(self._name, lane), self._wake, window),
                    Pull(self._bus, subjects.worker(self._name, lane), self._wake, window),
                ]
                for lane in subjects.LANES.values()
            },
            self._wake,
        )

    def _begin(self, message: Message) -> None:
        self._room -= 1
        self._held.add(message)
        metrics.IN_FLIGHT.labels(self._name).inc()
        task = asyncio.create_task(self._work(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, grace_s: float) -> None:
        if not self._tasks:
            return
        _, left = await asyncio.wait(self._tasks, timeout=grace_s)
        for task in left:
            task.cancel()
        if left:
            log.warning("drain_left_work", channel=self._name, count=len(left))
            await asyncio.wait(left, timeout=1)

    async def _extend_held(self) -> None:
        while True:
            await asyncio.sleep(_EXTEND_S)
            if self._bus.connected:
                for message in list(self._held):
                    await message.in_progress()

    async def _await_store(self, lanes: Lanes, stopping: asyncio.Event) -> None:
        lanes.pause()
        log.warning("store_away", channel=self._name)
        while not await self._store.healthy():
            await pause(stopping, _STORE_PAUSE_S)
            if stopping.is_set():
                return
        self._store_away = False
        await lanes.resume()

    async def healthy(self) -> bool:
        """True while bus and store answer."""
        return self._bus.connected and await self._store.healthy()

    # -- one delivery

    async def _work(self, message: Message) -> None:
        message.adopt_trace()
        try:
            await self._deliver(message)
        except PyMongoError as error:
            # Whatever was attempted has been recorded, or its claim tells of it.
            self._store_away = True
            log.warning("delivery_waits_for_store", channel=self._name, error=type(error).__name__)
            await self._nak(message, 5.0)
        except (CrownError, BusError) as error:
            log.warning("delivery_waits_for_bus", channel=self._name, error=type(error).__name__)
            await self._nak(message, 2.0)
        except Exception:
            log.exception("delivery_failed", channel=self._name, sequence=message.sequence)
            await self._nak(message, backoff.plain_s(message.deliveries))
        finally:
            self._held.discard(message)
            self._room += 1
            metrics.IN_FLIGHT.labels(self._name).dec()
            self._wake.set()

    async def _nak(self, message: Message, delay_s: float) -> None:
        if self._bus.connected:
            await message.nak(delay_s)

    async def _deliver(self, message: Message) -> None:
        event = _decode(message)
        if event is None or event.channel != self._channel:
            await self._bus.publish(notices.unreadable(self._name, message))
            await message.term("UNDECODABLE")
            return
        entry = await self._ledger.load(event)
        if entry is None:
            # The row is written before the delivery is published, so it was erased.
            await message.ack()
            return
        change = vet(entry, message.deliveries, now()) or await self._attempt(entry, message)
        if change is not None:
            await self._finish(entry, change, message)

    async def _attempt(self, entry: Entry, message: Message) -> Change | None:
        """Opens, resolves, claims and sends; None where another worker is at it and the message waits."""
        letter = await self._open(entry)
        if letter is None:
            return final(entry, DeliveryState.SUPPRESSED, "ERASED")
        # Read again here, at the last moment: an opt-out since the dispatch is obeyed.
        choices = await self._lookup.choices(entry.event.user_id)
        if not preferences.allows(choices, entry.category, entry.event.channel):
            return final(entry, DeliveryState.SUPPRESSED, "PREFERENCE_OFF")
        places = await self._resolve(entry, letter)
        if not places:
            if entry.done:
                return final(entry, DeliveryState.DELIVERED_TO_PROVIDER, "")
            return final(entry, DeliveryState.SUPPRESSED, "NO_ADDRESS")
        return await self._claim_and_send(entry, _attempt(entry, letter, places), message)

    async def _open(self, entry: Entry) -> Letter | None:
        """The content; None where the person, or the notification, was erased."""
        key = await self._lookup.key(entry.event.user_id)
        if key is None or not entry.ciphertext:
            return None
        try:
            raw = key.unwrap(entry.wrapped_key).open(entry.ciphertext)
        except VaultError:
            # Erased and known anew since: the new key opens nothing old.
            return None
        content = NotificationContent.FromString(raw)
        return Letter(
            NotificationData.FromString(content.data),
            Address.FromString(content.address),
            content.template_id,
            content.collapse_key,
        )

    async def _resolve(self, entry: Entry, letter: Letter) -> list[Destination]:
        found = given(letter.address, self._channel)
        if not found:
            found = await self._lookup.destinations(entry.event.user_id)
        return [place for place in found if place.id not in entry.done]

    async def _claim_and_send(self, entry: Entry, attempt: Attempt, message: Message) -> Change | None:
        claim = Claim(attempt.delivery_id, attempt.number, self._worker)
        provider = self._providers[(attempt.number - 1) % len(self._providers)]
        if await self._ledger.claim(claim):
            failpoint.reach("delivery.after_claim")
            outcome: Outcome | None = await self._send(provider, attempt)
            failpoint.reach("delivery.after_send")
            if isinstance(outcome, Unknown) and asks_first(self._channel):
                # A moment later the provider can say. The claim without an outcome makes whoever gets the
                # message then ask it.
                await message.nak(LEASE_S)
                return None
        else:
            outcome = await self._take_over(provider, attempt, claim, message)
        if outcome is None:
            return None
        return judge(entry, provider.name, outcome, now(), self._chance)

    async def _send(self, provider: Provider, attempt: Attempt) -> Outcome:
        began = time.perf_counter()
        outcome: Outcome
        try:
            outcome = await provider.send(attempt)
        except Exception as error:
            # A bug of ours, and the call may have gone out before it.
            log.exception("provider_failed", channel=self._name, provider=provider.name)
            outcome = Unknown(type(error).__name__)
        metrics.ATTEMPT.labels(self._name, provider.name).observe(time.perf_counter() - began)
        metrics.OUTCOMES.labels(self._name, provider.name, type(outcome).__name__).inc()
        return outcome

    async def _take_over(
        self, provider: Provider, attempt: Attempt, claim: Claim, message: Message
    ) -> Outcome | None:
        """The claim is somebody's. Where they are gone the provider is asked what became of it; None: they
        may still be at it, and the message waits."""
        taken = await self._ledger.claimed(claim)
        age_s = (now() - taken).total_seconds() if taken else 0.0
        if taken is None or age_s < LEASE_S:
            await message.nak(max(1.0, LEASE_S - age_s))
            return None
        found = await provider.find(attempt, taken)
        log.info(
            "attempt_taken_over",
            channel=self._name,
            delivery_id=claim.delivery_id,
            found=type(found).__name__ if found else "nothing",
        )
        return found or Unknown("WORKER_GONE")

    # -- record and settle

    async def _finish(self, entry: Entry, change: Change, message: Message) -> None:
        """Ledger, then dead letter or schedule, then the event, then the ack: a crash between any two is
        made good when the message comes again."""
        if not entry.final:
            await self._record(change)
            failpoint.reach("delivery.after_record")
        if change.state in {DeliveryState.FAILED, DeliveryState.UNKNOWN}:
            await self._bus.publish(notices.dead(self._name, change, message))
        if change.state == DeliveryState.RETRYING:
            await self._bus.publish(notices.retry(self._name, change))
        await self._tell(notices.outcome(self._name, change))
        await message.ack()

    async def _record(self, change: Change) -> None:
        """Keeps at it while the store is away: an outcome that is forgotten becomes an unknown one."""
        while True:
            try:
                await self._ledger.record(change)
                return
            except PyMongoError as error:
                self._store_away = True
                log.warning("outcome_waits_for_store", channel=self._name, error=type(error).__name__)
                await asyncio.sleep(_STORE_PAUSE_S)

    async def _publish(self, notes: list[Outgoing]) -> list[None]:
        await self._bus.publish_many(notes)
        return [None] * len(notes)


def _decode(message: Message) -> DeliveryEvent | None:
    try:
        event = DeliveryEvent.FromString(message.data)
    except DecodeError:
        return None
    return event if event.delivery_id and event.notification_id and event.user_id else None


def given(address: Address, channel: Channel.Type.ValueType) -> list[Destination]:
    """The address that came with the notification, if it has one for this channel."""
    match channel:
        case Channel.EMAIL if address.email:
            return [Destination("given", address.email)]
        case Channel.SMS if address.phone:
            return [Destination("given", address.phone)]
        case Channel.PUSH:
            return [Destination(f"given{n}", token) for n, token in enumerate(address.device_tokens)]
    return []


def _attempt(entry: Entry, letter: Letter, places: list[Destination]) -> Attempt:
    event = entry.event
    return Attempt(
        event.delivery_id,
        event.notification_id,
        event.user_id,
        entry.claims + 1,
        entry.kind,
        entry.category,
        letter.data,
        tuple(places),
        entry.create_time,
        entry.expire_time,
        letter.template_id,
        letter.collapse_key,
    )
