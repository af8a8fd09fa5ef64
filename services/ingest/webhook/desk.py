"""What stands between a row of `webhooks` and a call of its sender: what is told, and where."""

from __future__ import annotations

import asyncio

from crown.gather import Gather
from crown.judgement import final
from crown.ledger import Change, Entry
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import DeliveryState
from crown.provider import Attempt
from crown.recipients import Destination
from crown.store import Database, Document
from services.ingest.webhook import rows as webhooks
from services.ingest.webhook.hosts import WebhookHosts


class WebhookDesk:
    """Prepares calls of senders."""

    def __init__(self, db: Database, hosts: WebhookHosts) -> None:
        self._webhooks = db[webhooks.COLLECTION]
        self._notifications = db.notifications
        self._hosts = hosts
        self._told: Gather[str, Document] = Gather(self._read_told)
        self._sender: Gather[str, Document] = Gather(self._read_senders)

    async def prepare(self, entry: Entry) -> Attempt | Change:
        """As crown.desk.Desk says."""
        event = entry.event
        told, notification = await asyncio.gather(
            self._told(event.delivery_id), self._sender(event.notification_id)
        )
        url, sender = notification.get("webhook_url", ""), notification.get("sender", "")
        if not url or not told:
            return final(entry, DeliveryState.SUPPRESSED, "GONE")
        # Asked again: what the operators allow may have changed since it was accepted.
        if self._hosts.problem(sender, url):
            return final(entry, DeliveryState.FAILED, "ADDRESS_REFUSED")
        return Attempt(
            event.delivery_id,
            event.notification_id,
            event.user_id,
            entry.claims + 1,
            entry.kind,
            entry.category,
            NotificationData(message=webhooks.body(told)),
            (Destination(sender, url),),
            entry.create_time,
            entry.expire_time,
        )

    async def _read_told(self, row_ids: list[str]) -> list[Document]:
        found = self._webhooks.find({"_id": {"$in": row_ids}}, {"told": 1})
        told = {row["_id"]: row["told"] async for row in found}
        return [told.get(row_id, {}) for row_id in row_ids]

    async def _read_senders(self, notification_ids: list[str]) -> list[Document]:
        wanted = {"_id": {"$in": list(set(notification_ids))}}
        found = self._notifications.find(wanted, {"webhook_url": 1, "sender": 1})
        senders = {row["_id"]: row async for row in found}
        return [senders.get(notification_id, {}) for notification_id in notification_ids]
