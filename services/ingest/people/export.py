"""All that is held about one person, as one JSON document, written while it is read: what is in memory at a time is a
hundred notifications. docs/people.md tells its shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from datetime import datetime
from typing import Any

import msgspec
from bson import Int64
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from redis.asyncio import Redis

from crown import choices, presence
from crown.clock import now, timestamp
from crown.notification.v1.events_pb2 import NotificationContent
from crown.notification.v1.notification_pb2 import Address, NotificationData
from crown.notification.v1.types_pb2 import (
    Category,
    Channel,
    DeadLetterState,
    DeviceKind,
    Platform,
    SuppressionReason,
)
from crown.people import People
from crown.preferences import Preferences
from crown.recipients import Contact, Device, Recipients
from crown.store import Database, Document
from crown.suppressions import Suppressions
from crown.vault import Key, VaultError
from services.ingest.overview import deliveries
from services.ingest.schedules.book import Book
from services.ingest.timeline import told

# Rows that are read, and written, at a time.
_SLICE = 100
_TIMES = ("create_time", "expire_time", "read_time", "seen_time", "archive_time", "delete_time")


class Exporter:
    """Writes exports."""

    def __init__(self, db: Database, redis: Redis, data_key: Key) -> None:
        self._db = db
        self._redis = redis
        self._schedules = Book(db, data_key)
        self._people = People(db, data_key)
        self._recipients = Recipients(db, self._people)
        self._preferences = Preferences(db)
        self._suppressions = Suppressions(db, data_key)

    async def written(self, user_id: str) -> AsyncGenerator[bytes, None]:
        """The document in parts. Raises PyMongoError, and NotReady where Redis is away."""
        active_time = await presence.last_active(self._redis, user_id)
        contact = await self._recipients.contact(user_id)
        kept = await self._preferences.get(user_id)
        chosen = await self._db.preferences.find_one({"_id": user_id}, {"_id": 0, "etag": 0})
        devices = await self._recipients.devices(user_id)
        head = {
            "user_id": user_id,
            "export_time": _text(now()),
            "last_active_time": _text(active_time),
            "contact": _contact(contact),
            "devices": [_device(device) for device in devices],
            "preferences": {"categories": choices.spelled_out(kept.choices), "chosen": _plain(chosen or {})},
            "groups": [one async for one in self._groups(user_id)],
            "suppressions": [one async for one in self._suppressed(contact)],
            "broadcast_marks": [one async for one in self._marks(user_id)],
            "schedules": [one async for one in self._scheduled(user_id)],
            "dead_letters": [one async for one in self._given_up(user_id)],
        }
        yield _encoded(head)[:-1] + b',"notifications":['
        comma = b""
        async for part in self._notifications(user_id):
            yield comma + b",".join(map(_encoded, part))
            comma = b","
        yield b"]}"

    async def _groups(self, user_id: str) -> AsyncIterator[Document]:
        async for row in self._db.members.find({"user_id": user_id}).sort("group_id", 1):
            yield {"group_id": row["group_id"], "join_time": _text(row["join_time"])}

    async def _suppressed(self, contact: Contact) -> AsyncIterator[Document]:
        for channel, address in ((Channel.EMAIL, contact.email), (Channel.SMS, contact.phone)):
            found = await self._suppressions.among(channel, [address] if address else [])
            for one in found.values():
                yield {
                    "channel": Channel.Type.Name(channel),
                    "address": address,
                    "reason": SuppressionReason.Type.Name(one.reason),
                    "source": one.source,
                    "create_time": _text(one.create_time),
                }

    async def _marks(self, user_id: str) -> AsyncIterator[Document]:
        async for row in self._db.broadcast_marks.find({"user_id": user_id}, {"_id": 0, "user_id": 0}):
            yield _plain(row)

    async def _scheduled(self, user_id: str) -> AsyncIterator[Document]:
        async for row, notification in self._schedules.naming(user_id):
            # Of others whom it is for nothing is told.
            to_them = notification.user_id == user_id or user_id in notification.user_ids
            yield {
                "schedule_id": row["_id"],
                "sender": row["sender"],
                "cron": row["cron"],
                "time_zone": row["time_zone"],
                "next_time": _text(row.get("next_time")),
                **({"data": _json(notification.data)} if to_them else {}),
                **({"address": _json(notification.address)} if notification.HasField("address") else {}),
            }

    async def _given_up(self, user_id: str) -> AsyncIterator[Document]:
        async for row in self._db.dead_letters.find({"user_id": user_id}):
            yield {
                "dead_letter_id": row["_id"],
                "notification_id": row["notification_id"],
                "channel": Channel.Type.Name(row["channel"]),
                "reason": row["reason"],
                "state": DeadLetterState.Type.Name(row["state"]),
                "create_time": _text(row["create_time"]),
            }

    # -- notifications

    async def _notifications(self, user_id: str) -> AsyncIterator[list[Document]]:
        key = (await self._people.keys([user_id])).get(user_id)
        rows: list[Document] = []
        async for row in self._db.ledger.find({"user_id": user_id}).batch_size(_SLICE):
            rows.append(row)
            if len(rows) == _SLICE:
                yield await self._told(user_id, rows, key)
                rows = []
        if rows:
            yield await self._told(user_id, rows, key)

    async def _told(self, user_id: str, rows: list[Document], key: Key | None) -> list[Document]:
        ids = [row["notification_id"] for row in rows]
        contents, stories = await asyncio.gather(self._contents(ids), self._stories(user_id, ids))
        return [
            _notification(row, _content(key, row, contents), stories.get(row["notification_id"], ()))
            for row in rows
        ]

    async def _contents(self, ids: list[str]) -> dict[str, bytes]:
        found = self._db.notifications.find({"_id": {"$in": ids}}, {"content": 1})
        return {row["_id"]: row["content"] async for row in found}

    async def _stories(self, user_id: str, ids: list[str]) -> dict[str, list[Document]]:
        found: dict[str, list[Document]] = {}
        where = {"notification_id": {"$in": ids}, "user_id": user_id}
        async for row in self._db.timeline.find(where).sort([("notification_id", 1), ("time", 1)]):
            found.setdefault(row["notification_id"], []).append(row)
        return found


def _notification(row: Document, content: NotificationContent, story: Iterable[Document]) -> Document:
    address = Address.FromString(content.address)
    return {
        "notification_id": row["notification_id"],
        "sender": row.get("sender", ""),
        "kind": row["kind"],
        "category": Category.Type.Name(row["category"]),
        **{name: _text(row[name]) for name in _TIMES if row.get(name)},
        "data": _json(NotificationData.FromString(content.data)),
        # Where the sender had it sent, if it said so.
        **({"address": _json(address)} if address.ByteSize() else {}),
        **({"actor_name": content.actor_name} if content.actor_name else {}),
        "deliveries": [_json(delivery) for delivery in deliveries(row)],
        "timeline": [_json(told(entry)) for entry in story],
    }


def _content(key: Key | None, row: Document, contents: dict[str, bytes]) -> NotificationContent:
    """What it says; empty where it was erased."""
    sealed = contents.get(row["notification_id"])
    if key is None or not sealed:
        return NotificationContent()
    try:
        return NotificationContent.FromString(key.unwrap(row["wrapped_key"]).open(sealed))
    except (VaultError, DecodeError):
        return NotificationContent()


def _contact(contact: Contact) -> Document:
    return {
        "email": contact.email,
        "phone": contact.phone,
        "locale": contact.locale,
        "time_zone": contact.time_zone,
        "update_time": _text(contact.update_time),
    }


def _device(device: Device) -> Document:
    """Without what proves to a browser's push service that we may call it: that is no secret of theirs."""
    return {
        "device_id": device.id,
        "kind": DeviceKind.Type.Name(device.kind),
        "platform": Platform.Type.Name(device.platform),
        "token": device.token,
        "locale": device.locale,
        "time_zone": device.time_zone,
        "create_time": _text(device.create_time),
        "last_seen_time": _text(device.last_seen_time),
    }


def _text(moment: datetime | None) -> str | None:
    """RFC 3339, as every surface prints times."""
    stamp = timestamp(moment)
    return None if stamp is None else stamp.ToJsonString()


def _json(message: Message) -> Document:
    found: Document = MessageToDict(message, preserving_proto_field_name=True)
    return found


def _plain(value: Any) -> Any:
    """A document of the store as JSON has it."""
    match value:
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case datetime():
            return _text(value)
        case Int64():
            return int(value)
        case _:
            return value


def _encoded(document: Document) -> bytes:
    return msgspec.json.encode(document)
