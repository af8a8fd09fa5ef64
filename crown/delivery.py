"""The delivery engine, the same for every channel. It brings each delivery on the bus to its end:

    load → vet → prepare → claim → attempt → judge → record → settle

The claim is written before the provider is called, the outcome before the message is settled. So a crash at
any point leaves either nothing done, or a claim without an outcome, which is asked about at the provider and
else judged by crown/unknown.py. Retries are messages that JetStream schedules; nothing here sleeps on one."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time

from google.protobuf.message import DecodeError
from pymongo.errors import PyMongoError

from crown import backoff, failpoint, logs, metrics, notices, subjects
from crown.bus import Bus, BusError, Outgoing
from crown.clock import now
from crown.desk import Desk
from crown.errors import CrownError
from crown.gather import Gather
from crown.judgement import judge, vet
from crown.lanes import Lanes
from crown.ledger import Change, Claim, Entry, Ledger, row_id
from crown.notification.v1.events_pb2 import DeliveryEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.outcome import Outcome, Unknown
from crown.provider import Attempt, Provider
from crown.pull import Message, Pull, ready
from crown.route import Route
from crown.stopping import pause, wake_when
from crown.store import Store
from crown.unknown import asks_first

log = logs.get(__name__)

# A claim without an outcome for this long belongs to a worker that is gone. More than any provider's time
# limit, less than the 30 s after which JetStream hands the message to another worker.
LEASE_S = 20.0
_EXTEND_S = 10.0
_STORE_PAUSE_S = 2.0


class Engine:
    """The worker of one channel. `run` it; `healthy` tells whether it can work."""

    def __init__(
        self,
        channel: Channel.Type.ValueType,
        route: Route,
        desk: Desk,
        bus: Bus,
        store: Store,
        ledger: Ledger,
        in_flight: int = 128,
        chance: random.Random | None = None,
    ) -> None:
        self._channel = channel
        self._name = subjects.NAMES[channel]
        self._route = route
        self._desk = desk
        self._bus = bus
        self._store = store
        self._ledger = ledger
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._chance = chance or random.Random()
        self._most = self._room = in_flight
        # Begun together, deliveries share round trips to the store; one by one, each would have its own.
        self._wave = max(1, in_flight // 4)
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
                taken = await lanes.take(self._room) if self._room >= self._wave else []
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
        """Prepares, claims and sends; None where another worker is at it and the message waits."""
        attempt = await self._desk.prepare(entry)
        if isinstance(attempt, Change):
            return attempt
        return await self._claim_and_send(entry, attempt, message)

    async def _claim_and_send(self, entry: Entry, attempt: Attempt, message: Message) -> Change | None:
        row = row_id(entry.event.notification_id, entry.event.user_id)
        claim = Claim(attempt.delivery_id, attempt.number, self._worker, row)
        provider = self._route.choose(attempt)
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
