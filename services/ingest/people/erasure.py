"""Erases a person, in passes over the store that each can be made again. The first destroys the key, which makes
all that was sealed for them unreadable at once; hides and ends what was under way; and takes out what is theirs
alone. The last one, once whatever was at work on them at that moment has come to rest, turns their rows in the
ledger into remains that name nobody. Only what is not newer than the erasure is touched: somebody of the same id
may have come since."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError
from pymongo import DeleteMany, ReplaceOne, UpdateOne
from redis.asyncio import Redis

from crown import logs, notices, presence, subjects
from crown.bus import Bus, Outgoing
from crown.clock import now, timestamp
from crown.erasures import ERASED, Erasures, Mark
from crown.ids import webhook as hook
from crown.ledger import FINAL, Change
from crown.notification.v1.dead_letter_service_pb2 import DeadLetterFilter
from crown.notification.v1.events_pb2 import DeliveryEvent, DisconnectEvent, IntakeEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.store import Document, Store
from crown.vault import Key
from services.ingest.dispatch import history
from services.ingest.people import scheduled
from services.ingest.people.remains import remains
from services.ingest.schedules.book import Book

log = logs.get(__name__)

# Rows in one step.
_SLICE = 500
_STATES = tuple(DeliveryState.Type.keys())
_CHANNEL_OF = {name: value for value, name in subjects.CHANNELS.items()}


class Eraser:
    """Makes the passes."""

    def __init__(self, bus: Bus, store: Store, redis: Redis, data_key: Key) -> None:
        self._bus = bus
        self._store = store
        self._db = store.db
        self._redis = redis
        self._data_key = data_key
        self._schedules = Book(store.db, data_key)
        self.erasures = Erasures(store.db, data_key)

    async def destroy_key(self, mark: Mark) -> None:
        """Makes all that was sealed for them unreadable. A key that they were given since stays."""
        await self._db.people.delete_one({"_id": mark.user_id, "create_time": {"$not": {"$gt": mark.time}}})

    async def first(self, mark: Mark) -> None:
        """Everything that somebody could still see or get. Raises what store, bus and cache raise; then it is to be
        made again."""
        await self.destroy_key(mark)
        await self._close_sockets(mark)
        await self._take_out(mark)
        async for rows in self._rows(mark, {"wrapped_key": {"$ne": b""}}):
            await self._end(rows)
            await self._hide(rows)
        await self._bus.api("STREAM.PURGE.REALTIME", {"filter": _live(mark)})
        await presence.forget(self._redis, mark.user_id)
        await history.forget(self._redis, mark.user_id)
        await scheduled.bring_forward(self._bus, self._data_key, mark)

    async def last(self, mark: Mark) -> None:
        """`first` again, for what was under way then; and nothing names them any more. Raises as `first`."""
        await self.first(mark)
        async for rows in self._rows(mark, {}):
            await self._end(rows, everything=True)
            await self._forget_stories(rows)
            await self._leave_remains([row["_id"] for row in rows])
        log.info("person_erased", erasure=mark.id)

    async def _close_sockets(self, mark: Mark) -> None:
        """Every node closes their sockets, and opens none for a token from before."""
        event = DisconnectEvent(user_id=mark.user_id, revoke_time=timestamp(mark.time))
        await self._bus.publish(Outgoing(subjects.revoked(mark.user_id, ""), event.SerializeToString()))

    async def _take_out(self, mark: Mark) -> None:
        """What is theirs alone. What has no time is of before there were times."""
        user_id = mark.user_id
        old = {"$not": {"$gt": mark.time}}
        await asyncio.gather(
            self._db.contacts.delete_many({"_id": user_id, "update_time": old}),
            self._db.preferences.delete_many({"_id": user_id, "update_time": old}),
            self._db.devices.delete_many({"user_id": user_id, "last_seen_time": old}),
            self._db.members.delete_many({"user_id": user_id, "join_time": old}),
            # 0 follows / in ASCII.
            self._db.threads.delete_many({"_id": {"$gte": f"{user_id}/", "$lt": f"{user_id}0"}, "time": old}),
            self._db.dead_letters.delete_many({"user_id": user_id, "create_time": old}),
            self._db.digests.delete_many({"user_id": user_id, "create_time": old}),
        )
        await self._schedules.forget(user_id, mark.time)
        await self._forget_letters(mark)
        if not mark.passes:
            # They have no time; who comes later marks anew.
            await self._db.broadcast_marks.delete_many({"user_id": user_id})

    async def _forget_letters(self, mark: Mark) -> None:
        """Takes them out of what operators may have delivered again: letters that nobody could read, which have the
        whole order in them, and replays of letters of theirs."""
        where = {"user_id": "", "create_time": {"$lte": mark.time}, "body": {"$exists": True}}
        async for letter in self._db.dead_letters.find(where, {"body": 1, "stream": 1}):
            if mark.user_id.encode() not in letter["body"]:
                continue
            is_order = bool(subjects.source(letter["stream"], ""))
            if body := _without(letter["body"], mark.user_id) if is_order else b"":
                await self._db.dead_letters.update_one({"_id": letter["_id"]}, {"$set": {"body": body}})
            else:
                await self._db.dead_letters.delete_one({"_id": letter["_id"]})
        async for replay in self._db.replays.find({"create_time": {"$lte": mark.time}}, {"filter": 1}):
            if DeadLetterFilter.FromString(replay["filter"]).user_id == mark.user_id:
                await self._db.replays.delete_one({"_id": replay["_id"]})

    # -- the ledger

    async def _rows(self, mark: Mark, where: Document) -> AsyncIterator[list[Document]]:
        """Their rows, a slice at a time, in no order."""
        found = self._db.ledger.find({"user_id": mark.user_id, "create_time": {"$lte": mark.time}, **where})
        rows: list[Document] = []
        async for row in found.batch_size(_SLICE):
            rows.append(row)
            if len(rows) == _SLICE:
                yield rows
                rows = []
        if rows:
            yield rows

    async def _end(self, rows: list[Document], *, everything: bool = False) -> None:
        """Ends what is not final. A delivery that a worker has claimed ends as its attempt ends, unless `everything`
        does: by then nobody works on it."""
        under_way = (
            [] if everything else [f"{d['id']}:{d.get('claims', 0) + 1}" for _, _, d in _not_final(rows)]
        )
        claimed = {row["_id"] async for row in self._db.claims.find({"_id": {"$in": under_way}}, {"_id": 1})}
        ended = [
            one for one in _not_final(rows) if f"{one[2]['id']}:{one[2].get('claims', 0) + 1}" not in claimed
        ]
        if not ended:
            return
        moment = now()
        await self._db.ledger.bulk_write([_ending(*one, moment) for one in ended], ordered=False)
        await self._bus.publish_many(_told(*one) for one in ended)

    async def _hide(self, rows: list[Document]) -> None:
        """From here on the inbox is empty, and the key of the content is gone from the rows, too."""
        moment = now()
        await self._db.ledger.update_many(
            {"_id": {"$in": [row["_id"] for row in rows]}},
            {
                "$set": {"wrapped_key": b"", "delete_time": moment, "hidden": True},
                "$unset": dict.fromkeys(("unread", "unseen", "wake_time", "thread", "group", "actor"), ""),
            },
        )

    async def _forget_stories(self, rows: list[Document]) -> None:
        """Takes out of timelines, claims and words to senders what is about these rows."""
        stories = [
            DeleteMany({"notification_id": row["notification_id"], "user_id": row["user_id"]}) for row in rows
        ]
        ids = [delivery["id"] for row in rows for delivery in row["deliveries"].values()]
        # An id, then a colon and a number; a semicolon follows the colon in ASCII.
        claims = [DeleteMany({"_id": {"$gte": f"{one}:", "$lt": f"{one};"}}) for one in ids]
        await self._db.timeline.bulk_write(stories, ordered=False)
        if claims:
            await self._db.claims.bulk_write(claims, ordered=False)
        # A word that its receiver has not taken yet stays until it has, or until it is old.
        words = [hook(one, state) for one in ids for state in _STATES]
        await self._db.webhooks.delete_many({"_id": {"$in": words}, "open": []})

    async def _leave_remains(self, row_ids: list[str]) -> None:
        """Puts remains in the place of rows, at once: the books count each of them once at any time."""

        async def exchange(session: Any) -> None:
            wanted = {"_id": {"$in": row_ids}}
            rows = await self._db.ledger.find(wanted, session=session).to_list()
            if rows:
                moment = now()
                made = [remains(row, self.erasures, moment) for row in rows]
                await self._db.ledger.delete_many(wanted, session=session)
                # Dispatch may have left the same, where the order came to it again.
                places = [ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in made]
                await self._db.ledger.bulk_write(places, ordered=False, session=session)

        await self._store.together(exchange)


def _without(body: bytes, user_id: str) -> bytes:
    """An order without them; empty where it was for nobody else, or is none that anybody can read."""
    try:
        event = IntakeEvent.FromString(body)
    except DecodeError:
        return b""
    for ids in (event.user_ids, event.audience.exclude_user_ids):
        while user_id in ids:
            ids.remove(user_id)
    return event.SerializeToString() if event.user_ids or event.HasField("audience") else b""


def _live(mark: Mark) -> str:
    return subjects.live_source(subjects.user_topic(mark.user_id))


_Delivery = tuple[Document, str, Document]


def _not_final(rows: list[Document]) -> list[_Delivery]:
    """Row, channel and delivery of each that is not final."""
    return [
        (row, channel, delivery)
        for row in rows
        for channel, delivery in row["deliveries"].items()
        if delivery["state"] not in FINAL
    ]


def _ending(row: Document, channel: str, delivery: Document, moment: datetime) -> UpdateOne:
    at = f"deliveries.{channel}"
    fields = {"state": DeliveryState.SUPPRESSED, "reason": ERASED, "update_time": moment, "due_time": None}
    return UpdateOne(
        {"_id": row["_id"], f"{at}.state": delivery["state"]},
        {"$set": {f"{at}.{name}": value for name, value in fields.items()}, "$pull": {"open": channel}},
    )


def _told(row: Document, channel: str, delivery: Document) -> Outgoing:
    event = DeliveryEvent(
        delivery_id=delivery["id"],
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        # Of newer code there may be others.
        channel=_CHANNEL_OF.get(channel, Channel.CHANNEL_UNSPECIFIED),
        priority=row["lane"],
    )
    change = Change(event, DeliveryState.SUPPRESSED, ERASED, claims=delivery.get("claims", 0))
    return notices.outcome(channel, change)
