"""Dispatch: from the intake to inbox, sockets and channels. In this order, so that a crash between any two
loses nothing: the ledger, then what is published, then the ack of the intake. What a redelivery finds in the
ledger was written before the crash; it publishes what may not have been published and writes nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError
from pymongo.errors import PyMongoError

from crown import backoff, failpoint, ids, logs, metrics, subjects, tracing
from crown.bus import Bus, BusError, Outgoing
from crown.clock import moment, now, timestamp
from crown.errors import BusUnavailable, CrownError
from crown.lanes import Lanes
from crown.ledger import Ledger, row_id
from crown.notification.v1.events_pb2 import (
    DeadLetter,
    DeliveryEvent,
    EphemeralEvent,
    IntakeEvent,
    LiveEvent,
    OutcomeEvent,
)
from crown.notification.v1.types_pb2 import DeliveryState, TimelineEvent
from crown.people import People
from crown.preferences import CATEGORIES, Choices, Preferences
from crown.pull import Message, Pull, ready
from crown.stopping import wake_when
from crown.store import Document, Store
from crown.vault import Key, VaultError
from services.ingest.decide import Decision, decide

log = logs.get(__name__)

_MESSAGES_A_TURN = 500
_ROWS_A_TURN = 2_000
_TURNS_AT_ONCE = 2
_PAUSE_S = 2.0
_EXTEND_S = 8.0
# A message that fails by a bug of ours, and not since something is away, is tried so often.
_TRIES_MOST = 5
# More than any message that was accepted has.
_BODY_MOST_BYTES = 512 << 10
# The event that says that the inbox has changed, and nothing else.
_INBOX = "inbox"


@dataclass(slots=True)
class Order:
    """One intake message, decoded; `fresh` are the rows that this turn writes first."""

    message: Message
    event: IntakeEvent
    content_key: Key
    trace: str
    decisions: dict[str, list[Decision]] = field(default_factory=dict)


class Dispatcher:
    """Works on the lanes it is given."""

    def __init__(self, bus: Bus, store: Store, data_key: Key, lanes: Sequence[str]) -> None:
        self._bus = bus
        self._store = store
        self._data_key = data_key
        self._ledger = Ledger(store.db)
        self._people = People(store.db, data_key)
        self._preferences = Preferences(store.db)
        self._timeline = store.db.timeline
        self._wake = asyncio.Event()
        pulls = {lane: [Pull(bus, subjects.dispatcher(lane), self._wake, 1_000)] for lane in lanes}
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
            orders = [order for message in messages if (order := await self._read(message)) is not None]
            for part in _parts(orders):
                await self._dispatch(part)
                for order in part:
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
            _must_be_workable(event)
            key = self._data_key.unwrap(event.content.wrapped_key)
        except (DecodeError, ValueError, OverflowError, VaultError) as error:
            log.error("intake_unreadable", sequence=message.sequence, error=type(error).__name__)
            await self._bury(message, "UNDECODABLE", type(error).__name__)
            return None
        return Order(message, event, key, tracing.current())

    async def _dispatch(self, orders: list[Order]) -> None:
        people = list({user_id for order in orders for user_id in order.event.user_ids})
        keys, choices = await asyncio.gather(
            self._people.keys_or_new(people), self._preferences.choices(people)
        )
        failpoint.reach("dispatch.before_ledger")
        standing = await self._ledger.insert_notifications(_notifications(orders))
        rows, owners = self._rows([o for o in orders if _stands(o, standing)], keys, choices)
        known = await self._ledger.insert(list(rows.values()))
        failpoint.reach("dispatch.after_ledger")
        await self._tell_differing(orders, standing)
        await self._publish(await self._to_publish(rows, owners, known))
        failpoint.reach("dispatch.after_publish")

    def _rows(
        self, orders: list[Order], keys: dict[str, Key], choices: dict[str, Choices]
    ) -> tuple[dict[str, Document], dict[str, Order]]:
        """The rows by id, and the order that each came from: the first one, where one came several times."""
        rows: dict[str, Document] = {}
        owners: dict[str, Order] = {}
        present = now()
        for order in orders:
            for user_id in order.event.user_ids:
                key = row_id(order.event.notification_id, user_id)
                if key not in rows:
                    order.decisions[user_id] = _decisions(order.event, choices.get(user_id, {}), present)
                    rows[key] = _row(order, user_id, keys[user_id], present)
                    owners[key] = order
        return rows, owners

    async def _to_publish(
        self, rows: dict[str, Document], owners: dict[str, Order], known: set[str]
    ) -> list[tuple[Order, Document]]:
        """New rows, and known ones: whoever wrote those may have died before they published. How often the
        message has come says nothing, since NATS forgets that when it dies; so what was stored twice may be
        published twice, and claims see to the rest."""
        stored = {row["_id"]: row for row in await self._ledger.deliveries(known)} if known else {}
        return [
            (owner, stored.get(key, rows[key]))
            for key, owner in owners.items()
            if key not in known or key in stored
        ]

    async def _publish(self, work: list[tuple[Order, Document]]) -> None:
        live: list[Outgoing] = []
        quiet: list[str] = []
        decided: list[Outgoing] = []
        deliveries: dict[str, list[Outgoing]] = {}
        for order, row in work:
            for channel, state in row["deliveries"].items():
                metrics.DISPATCHED.labels(channel, DeliveryState.Type.Name(state["state"])).inc()
                if state["state"] == DeliveryState.PENDING:
                    lane = subjects.LANES[row["lane"]]
                    deliveries.setdefault(lane, []).append(_delivery(order, row, channel, state["id"]))
                elif order.event.webhook_url and state["state"] == state.get("decided"):
                    decided.append(_decided(order, row, channel, state))
            if _is_delivered(row, "real_time"):
                live.append(_live(order, row))
            elif _is_delivered(row, "in_app"):
                quiet.append(row["user_id"])
        await asyncio.gather(
            self._bus.publish_all(live),
            self._bus.publish_many(decided),
            *(self._bus.publish_many(found) for found in deliveries.values()),
        )
        await self._tell_counts(quiet)

    async def _tell_counts(self, user_ids: list[str]) -> None:
        """Has the open sockets of these people count anew: nothing that they get says that there is more to
        read. Who is not told counts when they come back."""
        event = EphemeralEvent(event=_INBOX, sealed=self._data_key.seal(b"{}")).SerializeToString()
        topics = (subjects.user_topic(user_id) for user_id in dict.fromkeys(user_ids))
        try:
            await self._bus.tell(Outgoing(subjects.live(topic), event) for topic in topics)
        except BusUnavailable:
            log.warning("counts_untold", count=len(user_ids))

    async def _tell_differing(self, orders: list[Order], standing: dict[str, Document]) -> None:
        """Where the same key came with another body and nobody could tell at the time, the timeline does."""
        for order in orders:
            notification_id = order.event.notification_id
            if order.event.request_hash != standing[notification_id]["request_hash"]:
                entry = {
                    "notification_id": notification_id,
                    "user_id": "",
                    "time": now(),
                    "event": TimelineEvent.KEY_REUSED,
                }
                await self._timeline.update_one(
                    {"_id": f"{notification_id}:reused"}, {"$setOnInsert": entry}, upsert=True
                )

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


def _must_be_workable(event: IntakeEvent) -> None:
    """Raises ValueError or OverflowError where a later step would fail: it is none of ours, or of a newer
    version of us."""
    if not (event.notification_id and event.user_ids and event.channels and event.content.ciphertext):
        raise ValueError("something is missing")
    if not set(event.channels) <= set(subjects.CHANNELS):
        raise ValueError("a channel is not known")
    if event.priority not in subjects.LANES or event.category not in CATEGORIES:
        raise ValueError("lane or category is not known")
    moment(event.create_time)
    _expire_time(event)


def _parts(orders: list[Order]) -> Iterator[list[Order]]:
    """The orders, a few thousand rows at a time."""
    part: list[Order] = []
    size = 0
    for order in orders:
        if part and size + len(order.event.user_ids) > _ROWS_A_TURN:
            yield part
            part, size = [], 0
        part.append(order)
        size += len(order.event.user_ids)
    if part:
        yield part


def _expire_time(event: IntakeEvent) -> datetime | None:
    return moment(event.expire_time) if event.HasField("expire_time") else None


def _decisions(event: IntakeEvent, choices: Choices, present: datetime) -> list[Decision]:
    return decide(list(event.channels), event.category, choices, _expire_time(event), present)


def _notifications(orders: list[Order]) -> list[Document]:
    """The documents of these orders; the parts of one notification share theirs, and of retries with the same
    key the first one counts."""
    found: dict[str, Document] = {}
    for order in orders:
        if order.event.notification_id not in found:
            found[order.event.notification_id] = _notification(order.event)
    return list(found.values())


def _stands(order: Order, standing: dict[str, Document]) -> bool:
    """Whether what stands as the notification is what this order brought. Else it is a sender's retry with the
    same key, sealed with a key of its own: rows of it could never be opened, and the first one's message, which
    is not acked before its rows are written, takes care."""
    content = standing[order.event.notification_id].get("content")
    return bool(content == order.event.content.ciphertext)


def _notification(event: IntakeEvent) -> Document:
    webhook = {"webhook_url": event.webhook_url} if event.webhook_url else {}
    return {
        "_id": event.notification_id,
        **webhook,
        "sender": event.sender,
        "kind": event.kind,
        "category": event.category,
        "priority": event.priority,
        "channels": list(event.channels),
        "create_time": moment(event.create_time),
        "expire_time": _expire_time(event),
        "recipient_count": event.recipient_count,
        "request_hash": event.request_hash,
        "content": event.content.ciphertext,
    }


def _row(order: Order, user_id: str, key: Key, present: datetime) -> Document:
    event = order.event
    decisions = order.decisions[user_id]
    row: Document = {
        "_id": row_id(event.notification_id, user_id),
        "notification_id": event.notification_id,
        "user_id": user_id,
        "create_time": moment(event.create_time),
        "decide_time": present,
        "expire_time": _expire_time(event),
        "kind": event.kind,
        "category": event.category,
        "lane": event.priority,
        "channels": list(event.channels),
        "wrapped_key": key.wrap(order.content_key),
        "deliveries": {
            subjects.CHANNELS[decision.channel]: _state(event, user_id, decision, present)
            for decision in decisions
        },
        "open": [subjects.CHANNELS[decision.channel] for decision in decisions if decision.open],
    }
    if any(_is_delivered(row, channel) for channel in _SHOWN):
        row["unread"] = True
    return row


def _is_delivered(row: Document, channel: str) -> bool:
    found = row["deliveries"].get(channel)
    return found is not None and bool(found["state"] == DeliveryState.DELIVERED)


def _state(event: IntakeEvent, user_id: str, decision: Decision, present: datetime) -> dict[str, Any]:
    channel = subjects.CHANNELS[decision.channel]
    return {
        "id": ids.delivery(event.notification_id, user_id, channel),
        "state": decision.state,
        "reason": decision.reason,
        "update_time": present,
        # Stays, whatever becomes of it: the timeline tells it.
        "decided": decision.state,
    }


# What the app itself shows, and counts until it is read.
_SHOWN = ("in_app", "real_time")
_CHANNEL_OF = {name: value for value, name in subjects.CHANNELS.items()}


def _delivery(order: Order, row: Document, channel: str, delivery_id: str) -> Outgoing:
    event = DeliveryEvent(
        delivery_id=delivery_id,
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        channel=_CHANNEL_OF[channel],
        priority=row["lane"],
    )
    subject = subjects.delivery(channel, subjects.LANES[row["lane"]])
    return Outgoing(subject, event.SerializeToString(), {tracing.HEADER: order.trace})


def _decided(order: Order, row: Document, channel: str, state: dict[str, Any]) -> Outgoing:
    """Tells that a delivery was at its end as soon as it was decided on."""
    event = OutcomeEvent(
        delivery_id=state["id"],
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        channel=_CHANNEL_OF[channel],
        state=state["state"],
        reason=state["reason"],
        occur_time=timestamp(row["decide_time"]),
    )
    return Outgoing(subjects.decided(channel), event.SerializeToString(), {tracing.HEADER: order.trace})


def _live(order: Order, row: Document) -> Outgoing:
    event = LiveEvent(
        user_id=row["user_id"],
        event="notification",
        notification_id=row["notification_id"],
        kind=row["kind"],
        category=row["category"],
        create_time=order.event.create_time,
        content=order.event.content,
    )
    subject = subjects.live_source(subjects.user_topic(row["user_id"]))
    return Outgoing(subject, event.SerializeToString(), {tracing.HEADER: order.trace})
