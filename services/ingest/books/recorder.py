"""The recorder: what became of deliveries, from the bus into the ledger, the timelines and the ears of
senders. Engines have brought their outcomes into the ledger themselves; what providers told later is brought
there here.

In this order, so that a crash between any two loses nothing: timelines, the rows of what senders are told,
the ledger, the messages about those rows, the acks. Whatever comes again then finds the ledger as it was, or
everything done but the messages, and for those rows the sweeper looks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from crown import dead_letters, failpoint, logs, newer, subjects, tracing
from crown.bus import Bus, BusError
from crown.clock import now
from crown.errors import CrownError
from crown.ledger import Ledger
from crown.newer import Newer
from crown.notification.v1.events_pb2 import CallbackEvent
from crown.notification.v1.types_pb2 import CallbackType
from crown.pull import Message, Pull
from crown.store import Document, Store
from services.ingest.books import events, facts, turn
from services.ingest.books.events import Event
from services.ingest.books.facts import Facts
from services.ingest.webhook import rows as webhooks

log = logs.get(__name__)

_A_TURN = 500
_PAUSE_S = 2.0
# A provider's word may come before its worker has written down the id that it is known by.
_EARLY = timedelta(seconds=30)


class Recorder:
    """Writes events down; the same one twice is one."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._bus = bus
        self._db = store.db
        self._webhooks = Ledger(store.db, webhooks.COLLECTION)
        self._pull = Pull(bus, subjects.recorder(), asyncio.Event(), 1_000)

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        await self._pull.work(stopping, _A_TURN, self._settle)

    async def _settle(self, messages: list[Message]) -> None:
        """Writes the events down, then acks them; all come again where the store is away."""
        heard, messages = await self._understood(messages)
        try:
            known = await facts.gather(self._db, [event for _, event in heard])
            early = {message for message, event in heard if _is_early(message, event, known)}
            await self._write([event for message, event in heard if message not in early], known)
        except PyMongoError as error:
            log.warning("recorder_waits", error=type(error).__name__)
            for message in messages:
                await message.nak(_PAUSE_S)
            await asyncio.sleep(_PAUSE_S)
            return
        for message, event in heard:
            if isinstance(event, CallbackEvent) and message not in early:
                _step(message, event, known).end()
        for message in messages:
            if message in early:
                await message.nak(_PAUSE_S)
            else:
                await message.ack()

    async def _understood(self, messages: list[Message]) -> tuple[list[tuple[Message, Event]], list[Message]]:
        """What they tell, and those that are to be settled; what is of newer code is parked."""
        heard: list[tuple[Message, Event]] = []
        ours: list[Message] = []
        for message in messages:
            try:
                event = events.read(message)
            except Newer as found:
                if not newer.is_lost(message):
                    await newer.park(message, "record", found.why)
                    continue
                events.note_unreadable(message)
                event = None
            ours.append(message)
            if event is not None:
                heard.append((message, event))
        return heard, ours

    async def _write(self, heard: Sequence[Event], known: Facts) -> None:
        present = now()
        made = turn.take(heard, known, present)
        if made.entries:
            kept = [_kept(entry) for entry in made.entries.values()]
            await self._db.timeline.bulk_write(kept, ordered=False)
        told = {row["_id"]: row for row in (webhooks.row(word, present) for word in made.words)}
        await self._webhooks.insert(list(told.values()))
        failpoint.reach("record.before_ledger")
        # Before the ledger too: after a crash nobody would know any more that there is something to close.
        await self._reconcile(made.settled)
        if updates := made.updates(present):
            await self._db.ledger.bulk_write(updates, ordered=False)
        failpoint.reach("record.after_ledger")
        await self._reconcile(made.settled)
        await self._forget(made.gone)
        await self._publish(told.values())

    async def _reconcile(self, delivery_ids: Iterable[str]) -> None:
        for delivery_id in delivery_ids:
            await dead_letters.reconcile(self._db, delivery_id)

    async def _forget(self, notification_ids: Collection[str]) -> None:
        """Tells no more about notifications whose receiver says that it is gone."""
        if notification_ids:
            where = {"_id": {"$in": list(notification_ids)}}
            await self._db.notifications.update_many(where, {"$unset": {"webhook_url": ""}})

    async def _publish(self, rows: Iterable[Document]) -> None:
        by_lane: dict[int, list[Document]] = {}
        for row in rows:
            by_lane.setdefault(row["lane"], []).append(row)
        try:
            for found in by_lane.values():
                await self._bus.publish_many(webhooks.message(row) for row in found)
        except (CrownError, BusError) as error:
            # Nothing else waits for them: the sweeper finds the rows.
            log.warning("webhooks_wait", error=type(error).__name__)


def _is_early(message: Message, event: Event, known: Facts) -> bool:
    """Whether a callback may be about what is not written down yet."""
    if not isinstance(event, CallbackEvent) or not facts.is_by_message(event):
        return False
    return event.callback_id not in known.places and now() - message.time < _EARLY


def _step(message: Message, event: CallbackEvent, known: Facts) -> tracing.Span | tracing.Nothing:
    """A callback as a step of the trace of its delivery, from when it was stored until it was written down. The
    provider's call that brought it has a trace of its own, to which it links."""
    row = known.row(event)
    if row is None or "trace" not in row:
        return tracing.NOTHING
    return tracing.span(
        "callback",
        tracing.Kind.CONSUMER,
        row["trace"],
        [message.trace],
        message.time_ns,
        notification_id=row["notification_id"],
        channel=subjects.NAMES.get(event.channel, ""),
        lane=subjects.LANES[row["lane"]],
        kind=row["kind"],
        provider=event.provider,
        outcome=CallbackType.Type.Name(event.type),
    )


def _kept(entry: Document) -> UpdateOne:
    fields = {name: value for name, value in entry.items() if name != "_id"}
    return UpdateOne({"_id": entry["_id"]}, {"$setOnInsert": fields}, upsert=True)
