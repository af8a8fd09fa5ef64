"""The delivery engine, the same for every channel. It brings each delivery on the bus to its end:

    load → vet → prepare → choose → claim → attempt → judge → record → settle

The claim is written before the provider is called, the outcome before the message is settled. So a crash at
any point leaves either nothing done, or a claim without an outcome, which is asked about at the provider and
else judged by crown/unknown.py. Retries are messages that JetStream schedules; nothing here sleeps on one."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from contextlib import AbstractAsyncContextManager, nullcontext

from google.protobuf.message import DecodeError
from pymongo.errors import PyMongoError

from crown import backoff, failpoint, lease, logs, metrics, newer, notices, subjects, tracing
from crown.bus import Bus, BusError, Outgoing
from crown.clock import now
from crown.desk import Desk
from crown.errors import CrownError
from crown.gather import Gather
from crown.judgement import KILLED_MOST, Rules, judge, poisoned, vet
from crown.lanes import Lanes
from crown.ledger import DEAD, Change, Claim, Entry, Ledger, Taken, row_of
from crown.newer import Newer, must_be_for_us
from crown.notification.v1.events_pb2 import DeliveryEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.outcome import Delivered, Outcome, Retry, Unknown
from crown.provider import Attempt
from crown.pull import Message, Pull, ready
from crown.route import Route, Turn
from crown.stopping import pause, wake_when
from crown.store import Store
from crown.unknown import asks_first

log = logs.get(__name__)

# A claim without an outcome for this long belongs to a worker that is gone. More than any provider's time
# limit, less than the 30 s after which JetStream hands the message to another worker.
LEASE_S = 20.0
# Within this much of it a call may begin: its time limit of 10 s still ends before the lease does.
_CALL_WITHIN = 0.4
# Within this much of it the call may be written: it arrives before the lease ends, also where clocks differ a little.
_WRITE_WITHIN = 0.8
_EXTEND_S = 10.0
_STORE_PAUSE_S = 2.0
# A message that is older, or comes again, may be one that kills: it is noted before it is worked on.
_FRESH_S = 5.0
# So many deliveries that somebody died of are worked on at a time.
_SUSPECTS_AT_ONCE = 16
# What is kept here of each pull while every provider is out: what a probe is made with.
_KEPT_FOR_PROBES = 1
_PAUSED_MOST_S = 15.0


class Engine:
    """The worker of one channel. `run` it; `healthy` tells whether it can work. `lease_s` is LEASE_S unless given,
    and has to be the same for all workers of a channel."""

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
        rules: Rules | None = None,
        lease_s: float | None = None,
    ) -> None:
        self._channel = channel
        self._name = subjects.NAMES[channel]
        self._route = route
        self._desk = desk
        self._bus = bus
        self._store = store
        self._ledger = ledger
        # Not by the process's number alone: in a container every one has the same.
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"
        self._chance = chance or random.Random()
        self._rules = rules or Rules()
        self._lease_s = LEASE_S if lease_s is None else lease_s
        self._most = self._room = in_flight
        # Begun together, deliveries share round trips to the store; one by one, each would have its own.
        self._wave = max(1, in_flight // 4)
        self._held: set[Message] = set()
        # Those of them that no provider has been chosen for yet.
        self._ahead: set[Message] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._store_away = False
        self._out = self._paused = False
        self._began = time.monotonic()
        self._suspects = asyncio.Semaphore(_SUSPECTS_AT_ONCE)
        self._alone = asyncio.Lock()
        # Starts of ours that could not be taken back while the store was away.
        self._unsettled: list[Claim] = []
        self._tell: Gather[Outgoing, None] = Gather(self._publish, most=500, parallel=4)

    # -- the loop

    async def run(self, stopping: asyncio.Event, grace_s: float = 10.0) -> None:
        """Works until `stopping` is set, then lets what is under way finish for `grace_s`. What is left then
        is redelivered to others."""
        self._began = time.monotonic()
        lanes = self._lanes()
        await lanes.start()
        keeper = asyncio.create_task(self._extend_held(lanes), name="extend")
        waker = asyncio.create_task(wake_when(stopping, self._wake), name="wake")
        try:
            while not stopping.is_set():
                if self._store_away:
                    await self._await_store(lanes, stopping)
                taken = await self._take(lanes)
                for message in taken:
                    self._begin(message)
                if not taken:
                    await ready(self._wake, stopping, min(1.0, max(0.01, self._route.wait_s() or 1.0)))
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

    async def _take(self, lanes: Lanes) -> list[Message]:
        """What there is to do, as far as we and the providers have room for it."""
        wanted = min(self._room, len(lanes)) if self._room >= self._wave else 0
        room = await self._route.room(wanted, len(self._ahead)) if wanted else 0
        await self._pause_or_resume(lanes)
        return await lanes.take(room) if room else []

    async def _pause_or_resume(self, lanes: Lanes) -> None:
        """While every provider is out, nothing is asked for, and what waits here goes back for others; but for
        what a probe is made with."""
        out = self._route.out()
        idle = out and bool(len(lanes) or self._ahead or self._route.wait_s() > 0)
        if idle:
            lanes.pause()
            await lanes.give_back(_KEPT_FOR_PROBES, self._put_off_s())
        elif self._paused:
            await lanes.resume()
        self._paused = idle
        if out != self._out:
            self._out = out
            metrics.PAUSED.labels(self._name).set(out)
            log.warning("route_out" if out else "route_back", channel=self._name)

    def _put_off_s(self) -> float:
        return min(max(1.0, self._route.wait_s()), _PAUSED_MOST_S)

    def _begin(self, message: Message) -> None:
        self._room -= 1
        self._held.add(message)
        self._ahead.add(message)
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

    async def _extend_held(self, lanes: Lanes) -> None:
        while True:
            await asyncio.sleep(_EXTEND_S)
            if self._bus.connected:
                for message in list(self._held):
                    await message.in_progress()
                await lanes.extend()

    async def _await_store(self, lanes: Lanes, stopping: asyncio.Event) -> None:
        lanes.pause()
        log.warning("store_away", channel=self._name)
        while not await self._store.healthy():
            await pause(stopping, _STORE_PAUSE_S)
            if stopping.is_set():
                return
        self._store_away = False
        unsettled, self._unsettled = self._unsettled, []
        for claim in unsettled:
            await self._unstart(claim)
        self._paused = False
        await lanes.resume()

    async def healthy(self) -> bool:
        """True while bus and store answer."""
        return self._bus.connected and await self._store.healthy()

    # -- one delivery

    async def _work(self, message: Message) -> None:
        message.adopt_trace()
        try:
            with tracing.span(f"deliver {self._name}", tracing.Kind.CONSUMER, channel=self._name):
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
            self._ahead.discard(message)
            self._room += 1
            metrics.IN_FLIGHT.labels(self._name).dec()
            self._wake.set()

    async def _nak(self, message: Message, delay_s: float) -> None:
        if self._bus.connected:
            await message.nak(delay_s)

    async def _deliver(self, message: Message) -> None:
        try:
            await self._understand(message)
        except Newer as found:
            if newer.is_lost(message):
                await self._put_aside(message)
            else:
                await newer.park(message, self._name, found.why)

    async def _understand(self, message: Message) -> None:
        event = _decode(message)
        if event is None or event.channel != self._channel:
            await self._put_aside(message)
            return
        logs.bind(notification_id=event.notification_id, delivery_id=event.delivery_id)
        entry = await self._ledger.load(event)
        if entry is None:
            # The row is written before the delivery is published, so it was erased.
            await message.ack()
            return
        must_be_for_us(0, state=(entry.state, DeliveryState.Type.values()))
        tracing.note(
            notification_id=event.notification_id,
            lane=subjects.LANES.get(event.priority, ""),
            kind=entry.kind,
            attempt=entry.claims + 1,
        )
        change = vet(entry, now(), self._rules) or await self._watched(entry, message)
        if change is not None:
            await self._finish(entry, change, message)

    async def _put_aside(self, message: Message) -> None:
        """After a crash in between the letter is written once more, and is the same."""
        await self._bus.publish(notices.unreadable(self._name, message))
        await message.term("UNDECODABLE")

    async def _watched(self, entry: Entry, message: Message) -> Change | None:
        """`_attempt`; but where a worker may have died of this delivery before, it is noted that it is begun, so
        that it is put aside after a few deaths whatever the bus remembers of them."""
        if self._is_new(message) and not entry.kills:
            return await self._attempt(entry, message)
        claim = self._claim(entry)
        starts = await self._ledger.starts(claim)
        # One death more may not have been noted: of when it was new.
        if starts >= KILLED_MOST - 1:
            return poisoned(entry)
        async with self._company(max(starts, entry.kills)):
            await self._ledger.start(claim)
            try:
                change = await self._attempt(entry, message)
            except (PyMongoError, CrownError, BusError):
                await self._unstart(claim)
                raise
        if change is None:
            await self._unstart(claim)
        return change

    def _is_new(self, message: Message) -> bool:
        """Whether nobody can have died of it: it has just come, for the first time, and we are not ourselves the
        successor of one that has just died."""
        fresh = message.deliveries == 1 and time.time() - message.time_ns / 1e9 < _FRESH_S
        return fresh and time.monotonic() - self._began > _FRESH_S

    def _company(self, deaths: int) -> AbstractAsyncContextManager[None]:
        """Of what somebody died once a few are worked on together, and what somebody died of again alone: so an
        innocent one is not there when the guilty one kills for the third time."""
        match deaths:
            case 0:
                return nullcontext()
            case 1:
                return self._suspects
            case _:
                return self._alone

    async def _unstart(self, claim: Claim) -> None:
        try:
            await self._ledger.unstart(claim)
        except PyMongoError:
            self._unsettled.append(claim)

    async def _attempt(self, entry: Entry, message: Message) -> Change | None:
        """Prepares, claims and sends; None where the message waits: for a provider, or for another worker that
        is at it."""
        with tracing.span("prepare"):
            attempt = await self._desk.prepare(entry)
        if isinstance(attempt, Change):
            return attempt
        turn = self._route.choose(entry.provider)
        self._ahead.discard(message)
        if turn is None:
            # No claim, so that this costs no attempt.
            await message.nak(self._put_off_s())
            return None
        claim = self._claim(entry, turn.provider.name)
        began = lease.clock()
        try:
            with tracing.span("claim"):
                won = await self._ledger.claim(claim)
        except BaseException:
            turn.release()
            raise
        if not won:
            turn.release()
            return await self._take_over(entry, attempt, claim, message)
        return await self._send(entry, attempt, claim, turn, message, began)

    def _claim(self, entry: Entry, provider: str = "") -> Claim:
        row = row_of(entry.event)
        return Claim(entry.event.delivery_id, entry.claims + 1, self._worker, row, provider)

    async def _send(
        self, entry: Entry, attempt: Attempt, claim: Claim, turn: Turn, message: Message, began: float
    ) -> Change | None:
        failpoint.reach("delivery.after_claim")
        if lease.clock() - began > self._lease_s * _CALL_WITHIN:
            turn.release()
            await self._too_late(claim, message)
            return None
        with lease.until(began + self._lease_s * _WRITE_WITHIN):
            outcome = await turn.send(attempt)
        failpoint.reach("delivery.after_send")
        if outcome == lease.OVER:
            await self._too_late(claim, message)
            return None
        if isinstance(outcome, Unknown) and asks_first(self._channel):
            # A moment later the provider can say. The claim without an outcome makes whoever gets the
            # message then ask it.
            await self._ledger.let_go(claim, unclear=outcome.error)
            await message.nak(self._lease_s)
            return None
        return self._judged(entry, claim.provider, outcome)

    async def _too_late(self, claim: Claim, message: Message) -> None:
        """We slept, by a signal or on a machine that did. Others may take the claim for abandoned by now."""
        log.warning("claim_too_old", channel=self._name, delivery_id=claim.delivery_id)
        await self._ledger.let_go(claim)
        await message.nak(1.0)

    async def _take_over(
        self, entry: Entry, attempt: Attempt, claim: Claim, message: Message
    ) -> Change | None:
        """The claim is somebody's. Where they are gone the provider is asked what became of it; None: they
        may still be at it, and the message waits."""
        taken = await self._ledger.claimed(claim)
        age_s = (now() - taken.time).total_seconds() if taken else 0.0
        if taken is None or (age_s < self._lease_s and not taken.unsent):
            await message.nak(max(1.0, self._lease_s - age_s))
            return None
        taken = await self._ledger.ask(claim) or taken
        if taken.asked >= KILLED_MOST:
            return poisoned(entry)
        outcome = await self._find(attempt, taken)
        log.info(
            "attempt_taken_over",
            channel=self._name,
            delivery_id=claim.delivery_id,
            found=type(outcome).__name__,
        )
        killed = not (taken.unsent or taken.unclear)
        return self._judged(entry, taken.provider, outcome, killed=killed)

    def _judged(self, entry: Entry, provider: str, outcome: Outcome, *, killed: bool = False) -> Change:
        moment = now()
        change = judge(entry, provider, outcome, moment, self._chance, self._rules, killed=killed)
        if isinstance(outcome, Delivered):
            metrics.HANDED.labels(self._name).observe((moment - entry.due_since).total_seconds())
        elif isinstance(outcome, Unknown):
            then = "sent_again" if change.state == DeliveryState.RETRYING else "given_up"
            metrics.UNKNOWN.labels(self._name, then).inc()
        return change

    async def _find(self, attempt: Attempt, taken: Taken) -> Outcome:
        """What became of an attempt whose claim was left without an outcome, as far as anybody can say."""
        if taken.unsent:
            return Retry("NOT_SENT")
        found = await self._route.find(taken.provider, attempt, taken.time)
        return found or Unknown(taken.unclear or "WORKER_GONE")

    # -- record and settle

    async def _finish(self, entry: Entry, change: Change, message: Message) -> None:
        """Ledger, then dead letter or schedule, then the event, then the ack: a crash between any two is
        made good when the message comes again."""
        tracing.note(
            outcome=DeliveryState.Type.Name(change.state), provider=change.provider, reason=change.reason
        )
        if change.state in DEAD:
            tracing.fail()
        if not entry.final:
            with tracing.span("record"):
                await self._record(change)
            failpoint.reach("delivery.after_record")
        if change.state in DEAD:
            await self._bus.publish(notices.dead(self._name, change, message))
        if change.state == DeliveryState.RETRYING:
            await self._bus.publish(notices.retry(self._name, change, message.trace))
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
    """The event; None where it is none of ours. Raises Newer."""
    try:
        event = DeliveryEvent.FromString(message.data)
    except DecodeError:
        return None
    if not (subjects.is_own(event.delivery_id) and subjects.is_own(event.notification_id) and event.user_id):
        return None
    must_be_for_us(
        event.needs_version, channel=(event.channel, subjects.NAMES), lane=(event.priority, subjects.LANES)
    )
    return event
