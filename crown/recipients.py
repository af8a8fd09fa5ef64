"""Where people can be reached: contacts and devices, stored under each person's own key. A channel resolves
them when it sends, so that addresses never ride the bus and a change or an erasure counts at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from secrets import token_hex

from crown.clock import now
from crown.errors import Stale
from crown.notification.v1.types_pb2 import Channel, DeviceKind, Platform
from crown.people import People, opened
from crown.store import Database, Document, insert_new
from crown.vault import Key

DEVICES_MOST = 20
# The etags of a contact that is not there, and of one that was written before there were etags.
_ABSENT = "0"
_UNMARKED = "1"


@dataclass(frozen=True, slots=True)
class Destination:
    """One address of a person on one channel. `id` is stable and says nothing of the address."""

    id: str
    address: str
    kind: DeviceKind.Type.ValueType = DeviceKind.TOKEN
    platform: Platform.Type.ValueType = Platform.PLATFORM_UNSPECIFIED
    # The device's own language tag and zone; empty: the person's.
    locale: str = ""
    time_zone: str = ""
    # The keys of a browser's subscription, base64url; empty on every other kind.
    p256dh: str = ""
    auth: str = ""


@dataclass(frozen=True, slots=True)
class Contact:
    """A person's contact in the clear."""

    email: str = ""
    phone: str = ""
    locale: str = ""
    time_zone: str = ""
    update_time: datetime | None = None
    # Stands for this version of it.
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A person's device; token and keys in the clear."""

    id: str
    user_id: str
    token: str
    kind: DeviceKind.Type.ValueType
    platform: Platform.Type.ValueType
    create_time: datetime
    last_seen_time: datetime
    # Its own language tag and zone; empty: the person's.
    locale: str = ""
    time_zone: str = ""
    # The keys of a browser's subscription, base64url; empty on every other kind.
    p256dh: str = ""
    auth: str = ""

    @property
    def destination(self) -> Destination:
        """Where it is reached."""
        return Destination(
            self.id,
            self.token,
            self.kind,
            self.platform,
            self.locale,
            self.time_zone,
            self.p256dh,
            self.auth,
        )


class Recipients:
    """Contacts and devices in the store."""

    def __init__(self, db: Database, people: People) -> None:
        self._contacts = db.contacts
        self._devices = db.devices
        self._people = people

    async def destinations(
        self, channel: Channel.Type.ValueType, user_ids: Collection[str]
    ) -> dict[str, list[Destination]]:
        """Where each of these people is reached on `channel`; who cannot be is not in it."""
        keys = await self._people.keys(user_ids)
        if channel == Channel.PUSH:
            found: dict[str, list[Destination]] = {}
            async for row in self._devices.find({"user_id": {"$in": list(user_ids)}}):
                device = _device(row, keys.get(row["user_id"]))
                if device.token:
                    found.setdefault(device.user_id, []).append(device.destination)
            return found
        field = "email" if channel == Channel.EMAIL else "phone"
        rows = self._contacts.find({"_id": {"$in": list(user_ids)}, field: {"$exists": True}}, {field: 1})
        clear = {row["_id"]: opened(keys.get(row["_id"]), row[field]) async for row in rows}
        return {user_id: [Destination(field, address)] for user_id, address in clear.items() if address}

    async def locales(self, user_ids: Collection[str]) -> dict[str, str]:
        """The language tag of each of these people, where it is known."""
        rows = self._contacts.find({"_id": {"$in": list(user_ids)}}, {"locale": 1})
        return {row["_id"]: row["locale"] async for row in rows if row.get("locale")}

    # -- contacts

    async def contact(self, user_id: str) -> Contact:
        """The person's contact; empty where there is none."""
        row = await self._contacts.find_one({"_id": user_id})
        if row is None:
            return Contact(etag=_ABSENT)
        key = (await self._people.keys([user_id])).get(user_id)
        return Contact(
            opened(key, row.get("email")),
            opened(key, row.get("phone")),
            row["locale"],
            row["time_zone"],
            row["update_time"],
            row.get("etag", _UNMARKED),
        )

    async def replace_contact(self, user_id: str, contact: Contact) -> Contact:
        """Makes `contact` all that is known, and answers it as it stands now; what is empty is forgotten. Where
        it has an etag, only in place of that version. Raises Stale."""
        key = (await self._people.keys_or_new([user_id]))[user_id]
        made = replace(contact, update_time=now(), etag=token_hex(8))
        row: Document = {
            "locale": made.locale,
            "time_zone": made.time_zone,
            "update_time": made.update_time,
            "etag": made.etag,
        }
        if contact.email:
            row["email"] = key.seal(contact.email.encode())
        if contact.phone:
            row["phone"] = key.seal(contact.phone.encode())
        if not await self._put_contact(user_id, row, contact.etag):
            raise Stale("the contact has changed since it was read; read it again")
        return made

    async def _put_contact(self, user_id: str, row: Document, etag: str) -> bool:
        """False where another version than `etag` stands."""
        if etag == _ABSENT:
            return not await insert_new(self._contacts, [{"_id": user_id, **row}])
        where: Document = {"_id": user_id}
        if etag:
            where["etag"] = None if etag == _UNMARKED else etag
        done = await self._contacts.replace_one(where, row, upsert=not etag)
        return bool(done.matched_count or not etag)

    # -- devices

    async def devices(self, user_id: str) -> list[Device]:
        """The person's devices, the last seen first."""
        key = (await self._people.keys([user_id])).get(user_id)
        rows = self._devices.find({"user_id": user_id}).sort("last_seen_time", -1).limit(DEVICES_MOST)
        return [_device(row, key) async for row in rows]

    async def put_device(self, device: Device) -> Device:
        """Makes `device` all that is known of it, whoever it belonged to; only the time of its first
        registration stays. A person's oldest devices go where there are more than 20."""
        key = (await self._people.keys_or_new([device.user_id]))[device.user_id]
        first = {"create_time": {"$ifNull": ["$create_time", device.create_time]}}
        row = await self._devices.find_one_and_update(
            {"_id": device.id},
            # Literally: a zone or a token that begins with a dollar sign is no field.
            [{"$replaceWith": {"$mergeObjects": [{"$literal": _row(device, key)}, first]}}],
            upsert=True,
            return_document=True,
        )
        assert row is not None  # an upsert that answers the new document
        await self._drop_oldest(device.user_id)
        return _device(row, key)

    async def _drop_oldest(self, user_id: str) -> None:
        rows = self._devices.find({"user_id": user_id}, {"_id": 1}).sort("last_seen_time", -1)
        surplus = [row["_id"] async for row in rows.skip(DEVICES_MOST)]
        if surplus:
            await self._devices.delete_many({"_id": {"$in": surplus}})

    async def delete_device(self, user_id: str, device_id: str) -> None:
        """Removes the device, if it is this person's."""
        await self._devices.delete_one({"_id": device_id, "user_id": user_id})

    async def forget_devices(self, device_ids: Collection[str]) -> None:
        """Removes devices that the provider says are gone."""
        await self._devices.delete_many({"_id": {"$in": list(device_ids)}})


def _row(device: Device, key: Key) -> Document:
    """What is stored of `device`, but for the time of its first registration."""
    row: Document = {
        "_id": device.id,
        "user_id": device.user_id,
        "token": key.seal(device.token.encode()),
        "kind": device.kind,
        "platform": device.platform,
        "last_seen_time": device.last_seen_time,
    }
    texts = {"locale": device.locale, "time_zone": device.time_zone}
    secrets = {"p256dh": device.p256dh, "auth": device.auth}
    row |= {name: text for name, text in texts.items() if text}
    row |= {name: key.seal(secret.encode()) for name, secret in secrets.items() if secret}
    return row


def _device(row: Document, key: Key | None) -> Device:
    return Device(
        row["_id"],
        row["user_id"],
        opened(key, row["token"]),
        row["kind"],
        row["platform"],
        row["create_time"],
        row["last_seen_time"],
        row.get("locale", ""),
        row.get("time_zone", ""),
        opened(key, row.get("p256dh")),
        opened(key, row.get("auth")),
    )
