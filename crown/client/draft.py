"""Writes a notification down: plain keywords in, the contract's request out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from crown.clock import timestamp
from crown.errors import InvalidRequest, Violation
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.notification_pb2 import Actor, Address, Escalation, NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, Priority

ChannelName = Literal["real_time", "push", "email", "sms", "in_app"]
CategoryName = Literal["activity", "social", "system", "marketing", "security"]
PriorityName = Literal["critical", "normal", "bulk"]


class Content(TypedDict, total=False):
    """What a message says; each as in NotificationData."""

    title: str
    message: str
    action_url: str
    image_url: str
    extra: Mapping[str, Any]


class Fields(Content, total=False):
    """A notification by keywords; each as in SendNotificationRequest and NotificationData."""

    user_id: str
    user_ids: Sequence[str]
    type: ChannelName
    channels: Sequence[ChannelName]
    kind: str
    category: CategoryName
    priority: PriorityName
    expires_at: datetime
    idempotency_key: str
    address: Address
    template_id: str
    collapse_key: str
    webhook_url: str
    send_at: datetime
    local_time: str
    group_ids: Sequence[str]
    exclude_user_ids: Sequence[str]
    everyone: bool
    group_key: str
    actor: Actor
    escalations: Sequence[Escalation]


def draft(**fields: Unpack[Fields]) -> SendNotificationRequest:
    """The request that `fields` describe; the service checks it. Raises InvalidRequest for a name of a
    channel, category or priority that there is not, ValueError for a time without a zone."""
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
        expires_at=time("expires_at", fields.get("expires_at")),
        idempotency_key=fields.get("idempotency_key", ""),
        address=fields.get("address"),
        template_id=fields.get("template_id", ""),
        collapse_key=fields.get("collapse_key", ""),
        webhook_url=fields.get("webhook_url", ""),
        send_at=time("send_at", fields.get("send_at")),
        local_time=fields.get("local_time", ""),
        group_ids=fields.get("group_ids"),
        exclude_user_ids=fields.get("exclude_user_ids"),
        everyone=fields.get("everyone", False),
        group_key=fields.get("group_key", ""),
        actor=fields.get("actor"),
        escalations=fields.get("escalations"),
    )


def content(**fields: Unpack[Content]) -> NotificationData:
    """What a message says."""
    return _data(fields)


def _data(fields: Content) -> NotificationData:
    data = NotificationData(
        title=fields.get("title", ""),
        message=fields.get("message", ""),
        action_url=fields.get("action_url", ""),
        image_url=fields.get("image_url", ""),
    )
    if "extra" in fields:
        ParseDict(dict(fields["extra"]), data.extra)
    return data


def time(field: str, given: datetime | None) -> Timestamp | None:
    """A time as the contract has it. Raises ValueError for one without a zone."""
    if given is not None and given.tzinfo is None:
        raise ValueError(f"{field} needs a time zone")
    return timestamp(given)


def _number(enum: Any, field: str, name: str | None) -> Any:
    """The value called `name`, in any case; None, which leaves the field alone, where there is no name."""
    if name is None:
        return None
    for known, number in enum.items():
        if number and known == name.upper() and known != "WEBHOOK":
            return number
    allowed = ", ".join(known.lower() for known, number in enum.items() if number and known != "WEBHOOK")
    raise InvalidRequest.of([Violation(field, f"must be one of {allowed}", "enum.defined_only")])
