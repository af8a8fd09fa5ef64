"""The dispatcher's loop: takes messages from the intake, has them worked on, and acks them after that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from pymongo.errors import PyMongoError

from crown import backoff, logs, metrics, newer, subjects, tracing
from crown.bus import Bus, BusError, Outgoing
from crown.clock import now, timestamp
from crown.errors import CrownError
from crown.lanes import Lanes
from crown.newer import Newer
from crown.notification.v1.events_pb2 import DeadLetter, IntakeEvent
from crown.pull import Message, Pull, ready
from crown.stopping import wake_when
from crown.store import Store
from crown.vault import Key, VaultError
from services.ingest.dispatch import orders, traced
from services.ingest.dispatch.filtering import Filtering
from services.ingest.dispatch.orders import Order
from services.ingest.dispatch.work import Work

log = logs.get(__name__)

_MESSAGES_A_TURN = 500
_TURNS_AT_ONCE = 2
_PAUSE_S = 2.0
_EXTEND_S = 8.0
# A message that fails by a bug of ours, and not since something is away, is tried so often.
_TRIES_MOST = 5
# More than any message that was accepted has.
_BODY_MOST_BYTES = 512 << 10
# Notifications that a line of the log names where it is about several.
_NAMED_MOST = 5


class Dispatcher:
    """Works on the lanes it is given."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        data_key: Key,
        lanes: Sequence[str],
        filtering: Filtering | None = None,
    ) -> None:
        self._bus = bus
        self._store = store
        self._data_key = data_key
        self._work = Work(bus, store, data_key, filtering)
        self._wake = asyncio.Event()
        # What has waited for its time goes first.
        pulls = {
            lane: [
                Pull(bus, subjects.due_dispatcher(lane), self._wake, 1_000),
                Pull(bus, subjects.dispatcher(lane), self._wake, 1_000),
            ]
            for lane in lanes
        }
        self._lanes = Lanes(pulls, self._wake)
        self._turns: set[asyncio.Task[None]] = set()
        self._held: set[Message] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set, and finishes the turns that are under way."""
        await self._lanes.start()
        keeper = asyncio.create_task(self._extend_held(), name="extend")
        waker = asyncio.create_task(wake_when(stopping, self._wake), name="wake")
        try:
            while not stopping.is_set():
                room = len(self._turns) < _TURNS_AT_ONCE
                taken = await self._lanes.take(_MESSAGES_A_TURN) if room else []
                if taken:
                    self._begin(taken)
                else:
                    await ready(self._wake, stopping)
        finally:
            await self._lanes.stop()
            if self._turns:
                await asyncio.wait(self._turns, timeout=10)
            keeper.cancel()
            waker.cancel()

    async def healthy(self) -> bool:
        """True while bus and store answer."""
        return self._bus.connected and await self._store.healthy()

    def _begin(self, messages: list[Message]) -> None:
        self._held.update(messages)
        task = asyncio.create_task(self._turn(messages))
        self._turns.add(task)
        task.add_done_callback(self._turns.discard)

    async def _extend_held(self) -> None:
        while True:
            await asyncio.sleep(_EXTEND_S)
            if self._bus.connected:
                for message in list(self._held):
                    await message.in_progress()

    async def _turn(self, messages: list[Message]) -> None:
        try:
            await self._try(messages)
        except (PyMongoError, CrownError, BusError) as error:
            log.warning("dispatch_waits", error=type(error).__name__)
            await self._give_back(messages)
        finally:
            self._held.difference_update(messages)
            self._wake.set()

    async def _try(self, messages: list[Message]) -> None:
        try:
            found = [order for message in messages if (order := await self._read(message)) is not None]
            for part in orders.parts(found):
                _bind(part)
                await self._work.dispatch(part)
                for order in part:
                    order.span.end()
                    await order.message.ack()
                    self._held.discard(order.message)
        except (PyMongoError, CrownError, BusError):
            raise
        except Exception as error:
            log.exception("dispatch_failed", count=len(messages))
            await self._set_apart([message for message in messages if message in self._held], error)

    async def _set_apart(self, messages: list[Message], error: Exception) -> None:
        """After a bug: each message for itself, so that one does not hold up the lane; and one that fails
        again and again goes to the dead letters."""
        if len(messages) > 1:
            for message in messages:
                await self._try([message])
            return
        for message in messages:
            self._held.discard(message)
            if message.deliveries < _TRIES_MOST:
                await message.nak(backoff.plain_s(message.deliveries))
            else:
                await self._bury(message, "RETRIES_EXHAUSTED", type(error).__name__)

    async def _give_back(self, messages: list[Message]) -> None:
        for message in messages:
            if message in self._held and self._bus.connected:
                await message.nak(_PAUSE_S)
        await asyncio.sleep(_PAUSE_S)

    # -- one turn

    async def _read(self, message: Message) -> Order | None:
        message.adopt_trace()
        try:
            event = IntakeEvent.FromString(message.data)
            # First, since it tells newer code of ours from what only looks like it.
            key = self._data_key.unwrap(event.content.wrapped_key)
            orders.must_be_workable(event)
        except Newer as found:
            if newer.is_lost(message):
                await self._bury(message, "UNDECODABLE", found.why)
                return None
            self._held.discard(message)
            await newer.park(message, "dispatch", found.why)
            return None
        except (DecodeError, ValueError, OverflowError, VaultError) as error:
            log.error("intake_unreadable", sequence=message.sequence, error=type(error).__name__)
            await self._bury(message, "UNDECODABLE", type(error).__name__)
            return None
        span = traced.step(event, tracing.current())
        return Order(message, event, key, span.context or tracing.current(), span)

    async def _bury(self, message: Message, reason: str, error: str) -> None:
        letter = DeadLetter(
            reason=reason,
            error=error,
            # Whole: it is all that is left of what was accepted.
            body=message.data[:_BODY_MOST_BYTES],
            create_time=timestamp(now()),
            stream=message.stream,
            sequence=message.sequence,
        )
        metrics.DEAD.labels("dispatch", reason).inc()
        headers = {"Nats-Msg-Id": f"{message.stream}:{message.sequence}"}
        await self._bus.publish(Outgoing(subjects.DEAD_DISPATCH, letter.SerializeToString(), headers))
        await message.term(reason)
        self._held.discard(message)


def _bind(part: list[Order]) -> None:
    """Has the log name what is worked on; of several a line names some."""
    ids = [order.event.notification_id for order in part[:_NAMED_MOST]]
    one = len(part) == 1
    logs.bind(notification_id=ids[0] if one else "", notification_ids="" if one else ",".join(ids))
