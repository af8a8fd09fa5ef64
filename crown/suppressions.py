"""Addresses that nothing is sent to any more. Each is kept as a keyed hash, so that the list says nothing to who
takes it, and outlives the erasure of the person without holding their address. Asked at the last moment before
each attempt; nothing is cached."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from crown.clock import now
from crown.notification.v1.types_pb2 import Channel, SuppressionReason
from crown.store import Database, Document
from crown.subjects import CHANNELS
from crown.vault import Key


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address on one channel. `source` says who told us: a provider's name, or an operator."""

    id: str
    channel: Channel.Type.ValueType
    reason: SuppressionReason.Type.ValueType
    source: str
    create_time: datetime


class Suppressions:
    """The suppressions in the store. Addresses are given in their normal form, see crown/addresses.py."""

    def __init__(self, db: Database, data_key: Key) -> None:
        self._rows = db.suppressions
        self._key = hmac.digest(data_key.raw, b"suppressions", "sha256")

    def id(self, channel: Channel.Type.ValueType, address: str) -> str:
        """The id of the suppression that this address has, or would have."""
        # Domains mean the same in any case, and mail servers that tell `Ann` from `ann` are nowhere to be found:
        # a complaint of one must not leave the other.
        named = f"{CHANNELS[channel]}:{address.lower()}"
        return hmac.digest(self._key, named.encode(), "sha256").hex()[:40]

    async def among(
        self, channel: Channel.Type.ValueType, addresses: Collection[str]
    ) -> dict[str, Suppression]:
        """Those of `addresses` that are suppressed."""
        ids = {self.id(channel, address): address for address in addresses}
        rows = self._rows.find({"_id": {"$in": list(ids)}})
        return {ids[row["_id"]]: read(row) async for row in rows}

    async def add(
        self,
        channel: Channel.Type.ValueType,
        address: str,
        reason: SuppressionReason.Type.ValueType,
        source: str,
    ) -> Suppression:
        """Suppresses `address`. One that is suppressed already stays so, for its first reason."""
        fields = {"channel": channel, "reason": reason, "source": source, "create_time": now()}
        row = await self._rows.find_one_and_update(
            {"_id": self.id(channel, address)}, {"$setOnInsert": fields}, upsert=True, return_document=True
        )
        assert row is not None  # an upsert that answers the new document
        return read(row)

    async def listed(self, where: Document, limit: int) -> list[Suppression]:
        """Up to `limit` of those that match, the newest first."""
        rows = self._rows.find(where).sort([("create_time", -1), ("_id", -1)]).limit(limit)
        return [read(row) async for row in rows]

    async def end(self, suppression_id: str) -> None:
        """Ends the suppression with this id, if there is one."""
        await self._rows.delete_one({"_id": suppression_id})

    async def remove(self, channel: Channel.Type.ValueType, address: str) -> None:
        """Ends the suppression of `address`, if there is one."""
        await self.end(self.id(channel, address))


def read(row: Document) -> Suppression:
    """The suppression in a document."""
    return Suppression(row["_id"], row["channel"], row["reason"], row["source"], row["create_time"])
