"""What dispatch does about orders: who is meant, what is decided, the ledger, and then what is published. In this
order, so that a crash between any two loses nothing: what a redelivery finds in the ledger was written before the
crash; it publishes what may not have been published and writes nothing twice."""

from __future__ import annotations

from datetime import datetime

from crown import failpoint, tracing
from crown.bus import Bus
from crown.clock import now
from crown.ledger import Ledger, row_id
from crown.notification.v1.types_pb2 import TimelineEvent
from crown.people import People
from crown.store import Document, Store
from crown.vault import Key
from services.ingest.broadcasts import Broadcaster
from services.ingest.dispatch import erased, rows, traced
from services.ingest.dispatch.announcer import Announcer
from services.ingest.dispatch.audience import Audiences
from services.ingest.dispatch.facts import FactFinder
from services.ingest.dispatch.filtering import Filtering
from services.ingest.dispatch.notice import Notice
from services.ingest.dispatch.orders import Order, page
from services.ingest.dispatch.scheduling import Scheduling
from services.ingest.inbox.threads import Threads


class Work:
    """The work of a dispatcher."""

    def __init__(self, bus: Bus, store: Store, data_key: Key, filtering: Filtering | None = None) -> None:
        self._ledger = Ledger(store.db)
        self._facts = FactFinder(store.db, People(store.db, data_key))
        self._timeline = store.db.timeline
        self._scheduling = Scheduling(bus, store.db, data_key)
        self._threads = Threads(store.db)
        self._erased = erased.Erased(store.db, data_key)
        self._announcer = Announcer(bus, data_key)
        self._audiences = Audiences(bus, store.db)
        self._broadcaster = Broadcaster(bus, store.db)
        self._filtering = filtering

    async def dispatch(self, orders: list[Order]) -> None:
        """Orders that are workable, a few thousand rows in all."""
        present = now()
        await self._erased.rename(orders)
        facts = await self._facts.find(orders, present)
        # Again: who was erased meanwhile may just have got a new key.
        await self._erased.rename(orders, facts.keys)
        failpoint.reach("dispatch.before_ledger")
        standing = await self._ledger.insert_notifications(rows.notifications(orders))
        valid = [order for order in orders if rows.stands(order, standing)]
        valid = await self._scheduling.put_off(valid, standing)
        await self._audiences.advance(valid, standing)
        valid = await self._scheduling.drop_cancelled(valid, standing)
        for order in valid:
            order.decisions = facts.decide(order, present)
        if self._filtering is not None:
            await self._filtering.screen(valid)
        erased.decide(valid)
        made, owners = self._rows(valid, facts.keys, present)
        await self._threads.assign(made.values())
        known = await self._ledger.insert(list(made.values()))
        failpoint.reach("dispatch.after_ledger")
        await self._tell_differing(orders, standing)
        for order in valid:
            if order.event.audience.everyone:
                await self._broadcaster.send(order)
        known |= await self._overtaken(owners)
        notices = await self._to_publish(made, owners, known)
        await self._threads.fold(notice.row for notice in notices)
        await self._announcer.announce(notices)
        failpoint.reach("dispatch.after_publish")

    def _rows(
        self, orders: list[Order], keys: dict[str, Key], present: datetime
    ) -> tuple[dict[str, Document], dict[str, Order]]:
        """The rows by id, and the order that each came from: the first one, where one came several times."""
        made: dict[str, Document] = {}
        owners: dict[str, Order] = {}
        for order in orders:
            for number, user_id in enumerate(order.event.user_ids):
                key = row_id(order.event.notification_id, user_id)
                if key not in made:
                    made[key] = rows.row(order, user_id, keys[user_id], present)
                    if traced.is_followed(order, number):
                        made[key]["trace"] = order.trace
                    owners[key] = order
        return made, owners

    async def _overtaken(self, owners: dict[str, Order]) -> set[str]:
        """The rows of notifications that were cancelled while they were written: what stands there now, the store
        has to say."""
        cancelled = await self._scheduling.overtaken({o.event.notification_id for o in owners.values()})
        return {key for key, owner in owners.items() if owner.event.notification_id in cancelled}

    async def _to_publish(
        self, made: dict[str, Document], owners: dict[str, Order], known: set[str]
    ) -> list[Notice]:
        """New rows, and known ones: whoever wrote those may have died before they published. How often the
        message has come says nothing, since NATS forgets that when it dies; so what was stored twice may be
        published twice, and claims see to the rest."""
        stored = {row["_id"]: row for row in await self._ledger.deliveries(known)} if known else {}
        pages = {key: page(owner.event) for key, owner in owners.items()} if known else {}
        await self._audiences.note_twice(stored.values(), pages)
        return [
            Notice(
                stored.get(key, made[key]),
                owner.event.content,
                bool(owner.event.webhook_url),
                made[key].get("trace") or tracing.unsampled(owner.trace),
            )
            for key, owner in owners.items()
            if key not in known or key in stored
        ]

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
