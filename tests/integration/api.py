"""Calls to ingest's API as a service makes them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from crown.notification.v1 import inbox_service_pb2_grpc, ingest_service_pb2_grpc
from crown.notification.v1.ingest_service_pb2 import (
    BulkResult,
    CancelNotificationRequest,
    CancelNotificationResponse,
    GetNotificationRequest,
    SendBulkNotificationsRequest,
    SendNotificationRequest,
)
from crown.notification.v1.notification_pb2 import Notification
from tests.integration.rig import Rig, Service


def request(**given: Any) -> SendNotificationRequest:
    """A good request with these fields over it."""
    fields: dict[str, Any] = {"type": "IN_APP", "data": {"title": "Hi"}, **given}
    if "user_ids" not in fields:
        fields.setdefault("user_id", "user123")
    return SendNotificationRequest(**fields)


def reason_of(status: status_pb2.Status) -> str:
    """The stable word of an error."""
    info = error_details_pb2.ErrorInfo()
    assert any(part.Unpack(info) for part in status.details)
    return str(info.reason)


class Api:
    """One replica, called by one service."""

    def __init__(self, rig: Rig, service: Service, sender: str = "feed") -> None:
        self.service = service
        self._token = rig.token(sender)
        self._ingest = ingest_service_pb2_grpc.IngestServiceStub(service.channel)
        self.inbox = inbox_service_pb2_grpc.InboxServiceStub(service.channel)

    def metadata(self, key: str = "") -> tuple[tuple[str, str], ...]:
        """Who calls, and the idempotency key of the header."""
        found = (("authorization", f"Bearer {self._token}"),)
        return (*found, ("idempotency-key", key)) if key else found

    async def send(self, key: str = "", timeout_s: float = 10.0, **given: Any) -> str:
        """Sends, and answers the id."""
        answer = await self._ingest.SendNotification(
            request(**given), metadata=self.metadata(key), timeout=timeout_s
        )
        return answer.notification_id

    async def refused(self, **given: Any) -> tuple[grpc.StatusCode, str, float | None]:
        """Sends what must be refused: code, reason, and the seconds of its retry-after, if any."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.send(**given)
        trailers = dict(caught.value.trailing_metadata() or ())
        raw: Any = trailers.get("grpc-status-details-bin", b"")
        after = trailers.get("retry-after")
        return (
            caught.value.code(),
            reason_of(status_pb2.Status.FromString(raw)),
            None if after is None else float(after),
        )

    async def bulk(self, *items: SendNotificationRequest, key: str = "") -> list[BulkResult]:
        """Sends many."""
        answer = await self._ingest.SendBulkNotifications(
            SendBulkNotificationsRequest(notifications=items), metadata=self.metadata(key), timeout=10
        )
        return list(answer.results)

    async def get(self, notification_id: str) -> Notification:
        """What became of it."""
        answer = await self._ingest.GetNotification(
            GetNotificationRequest(notification_id=notification_id), metadata=self.metadata(), timeout=10
        )
        return answer.notification

    async def cancel(self, notification_id: str) -> CancelNotificationResponse:
        """Stops it."""
        return await self._ingest.CancelNotification(
            CancelNotificationRequest(notification_id=notification_id), metadata=self.metadata(), timeout=15
        )
