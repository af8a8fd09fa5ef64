"""Writes a notification down: plain keywords in, the contract's request out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from google.protobuf.json_format import ParseDict

from crown.clock import timestamp
from crown.errors import InvalidRequest, Violation
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.notification_pb2 import Address, NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, Priority

ChannelName = Literal["real_time", "push", "email", "sms", "in_app"]
CategoryName = Literal["activity", "social", "system", "marketing", "security"]
PriorityName = Literal["critical", "normal", "bulk"]


class Fields(TypedDict, total=False):
    """A notification by keywords; each as in SendNotificationRequest and NotificationData."""

    user_id: str
    user_ids: Sequence[str]
    type: ChannelName
    channels: Sequence[ChannelName]
    title: str
    message: str
    action_url: str
    image_url: str
    extra: Mapping[str, Any]
    kind: str
    category: CategoryName
    priority: PriorityName
    expires_at: datetime
    idempotency_key: str
    address: Address
    template_id: str
    collapse_key: str
    webhook_url: str


def draft(**fields: Unpack[Fields]) -> SendNotificationRequest:
    """The request that `fields` describe; the service checks it. Raises InvalidRequest for a name of a
    channel, category or priority that there is not, ValueError for a time without a zone."""
    expires_at = fields.get("expires_at")
    if expires_at is not None and expires_at.tzinfo is None:
        raise ValueError("expires_at needs a time zone")
    channels = [_number(Channel.Type, "channels", name) for name in fields.get("channels", ())]
    return SendNotificationRequest(
        user_id=fields.get("user_id", ""),
        user_ids=fields.get("user_ids"),
        type=_number(Channel.Type, "type", fields.get("type")),
        channels=channels,
        data=_data(fields),
        kind=fields.get("kind", ""),
        category=_number(Category.Type, "category", fields.get("category")),
        priority=_number(Priority.Type, "priority", fields.get("priority")),
        expires_at=timestamp(expires_at),
        idempotency_key=fields.get("idempotency_key", ""),
        address=fields.get("address"),
        template_id=fields.get("template_id", ""),
        collapse_key=fields.get("collapse_key", ""),
        webhook_url=fields.get("webhook_url", ""),
    )


def _data(fields: Fields) -> NotificationData:
    data = NotificationData(
        title=fields.get("title", ""),
        message=fields.get("message", ""),
        action_url=fields.get("action_url", ""),
        image_url=fields.get("image_url", ""),
    )
    if "extra" in fields:
        ParseDict(dict(fields["extra"]), data.extra)
    return data


def _number(enum: Any, field: str, name: str | None) -> Any:
    """The value called `name`, in any case; None, which leaves the field alone, where there is no name."""
    if name is None:
        return None
    for known, number in enum.items():
        if number and known == name.upper() and known != "WEBHOOK":
            return number
    allowed = ", ".join(known.lower() for known, number in enum.items() if number and known != "WEBHOOK")
    raise InvalidRequest.of([Violation(field, f"must be one of {allowed}", "enum.defined_only")])
