"""`crown doctor --send-test`: sends one message through the configured provider and prints what that answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import grpc.aio
from rich.console import Console

from crown.client import Client, refusals
from crown.errors import CrownError
from crown.notification.v1 import device_service_pb2, email_service_pb2, push_service_pb2, sms_service_pb2
from crown.notification.v1.channel_send_pb2 import SendReceipt
from crown.notification.v1.device_service_pb2_grpc import DeviceServiceStub
from crown.notification.v1.email_service_pb2_grpc import EmailServiceStub
from crown.notification.v1.notification_pb2 import Delivery, NotificationData
from crown.notification.v1.push_service_pb2_grpc import PushServiceStub
from crown.notification.v1.sms_service_pb2_grpc import SmsServiceStub
from crown.notification.v1.types_pb2 import DeliveryState, DeviceKind
from stack.commands import gateway
from stack.control import Stack
from stack.errors import StackError
from stack.hints import hint

CHANNELS = ("email", "sms", "push")

_LIMIT_S = 30.0
_DATA = NotificationData(title="Crown test", message="This is a test. Somebody called crown doctor.")
_TAKEN = frozenset((DeliveryState.DELIVERED_TO_PROVIDER, DeliveryState.DELIVERED, DeliveryState.READ))


def main(stack: Stack, channel: str, to: str) -> bool:
    """Sends and prints; whether the provider took it. Raises StackError where there is nobody to ask."""
    if channel not in CHANNELS:
        raise StackError(f"--send-test takes {', '.join(CHANNELS)}, and whom to")
    if stack.supervisor_pid() is None:
        raise StackError("the stack is not up: `crown up` first")
    console = Console(highlight=False)
    try:
        told, taken = asyncio.run(_send(stack, channel, to))
    except CrownError as error:
        _refused(console, channel, error)
        return False
    _print(console, told)
    return taken


async def _send(stack: Stack, channel: str, to: str) -> tuple[list[tuple[str, str]], bool]:
    """What there is to say of it, and whether the provider took it. Raises CrownError."""
    metadata = (("authorization", f"Bearer {stack.token(operator='doctor', ttl_s=600)}"),)
    async with stack.channel(channel) as link:
        try:
            if channel == "push" and await _is_user(link, metadata, to):
                return await _to_user(stack, to)
            receipt = await _receipt(link, metadata, channel, to)
        except grpc.aio.AioRpcError as error:
            raise refusals.from_call(error) from error
    told = [
        ("provider", receipt.provider),
        ("state", DeliveryState.Type.Name(receipt.state)),
        ("reason", receipt.reason),
        ("message id", receipt.provider_message_id),
        ("segments", str(receipt.segments or "")),
        ("delivery", receipt.delivery_id),
    ]
    return told, receipt.state in _TAKEN


async def _receipt(link: grpc.aio.Channel, metadata: Any, channel: str, to: str) -> SendReceipt:
    match channel:
        case "email":
            mail = email_service_pb2.SendEmailRequest(to=to, data=_DATA)
            mailed = await EmailServiceStub(link).SendEmail(mail, timeout=_LIMIT_S, metadata=metadata)
            return mailed.receipt
        case "sms":
            text = sms_service_pb2.SendSmsRequest(to=to, data=_DATA)
            texted = await SmsServiceStub(link).SendSms(text, timeout=_LIMIT_S, metadata=metadata)
            return texted.receipt
        case _:
            push = _push(to)
            pushed = await PushServiceStub(link).SendPush(push, timeout=_LIMIT_S, metadata=metadata)
            return pushed.receipt


def _push(to: str) -> push_service_pb2.SendPushRequest:
    """To a token; or to a browser, by its PushSubscription as JSON. Raises StackError."""
    if not to.startswith("{"):
        return push_service_pb2.SendPushRequest(token=to, data=_DATA)
    try:
        found = json.loads(to)
        keys = device_service_pb2.WebPushKeys(p256dh=found["keys"]["p256dh"], auth=found["keys"]["auth"])
        endpoint = str(found["endpoint"])
    except (ValueError, KeyError, TypeError) as error:
        raise StackError("what begins with { must be a PushSubscription, as toJSON() gives it") from error
    return push_service_pb2.SendPushRequest(
        token=endpoint, data=_DATA, kind=DeviceKind.WEB_PUSH, web_push=keys
    )


async def _is_user(link: grpc.aio.Channel, metadata: Any, to: str) -> bool:
    """Whether `to` is a person who has devices."""
    request = device_service_pb2.ListDevicesRequest(user_id=to)
    try:
        found = await DeviceServiceStub(link).ListDevices(request, timeout=_LIMIT_S, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return False  # longer than any id, or with other characters: a token
        raise
    return bool(found.devices)


async def _to_user(stack: Stack, user: str) -> tuple[list[tuple[str, str]], bool]:
    """A notification to all devices of a person, by the way that all notifications go."""
    token = stack.token(service="doctor", scopes=["notifications.send"], ttl_s=600)
    async with Client(gateway.address(stack), token=token) as client:
        sent = await client.send(user_id=user, type="push", title=_DATA.title, message=_DATA.message)
        delivery = await _ended(client, sent)
    told = [
        ("provider", delivery.provider),
        ("state", DeliveryState.Type.Name(delivery.state)),
        ("reason", delivery.reason),
        ("message id", delivery.provider_message_id),
        ("attempts", str(delivery.attempts)),
        ("notification", sent),
    ]
    return told, delivery.state in _TAKEN


async def _ended(client: Client, notification_id: str) -> Delivery:
    """The one delivery, once it has ended. Raises StackError where it does not in time."""
    limit = time.monotonic() + _LIMIT_S
    while True:
        found = (await client.get(notification_id)).deliveries
        if found and found[0].state not in (DeliveryState.PENDING, DeliveryState.RETRYING):
            return found[0]
        if time.monotonic() > limit:
            word = DeliveryState.Type.Name(found[0].state) if found else "not dispatched"
            raise StackError(f"after {_LIMIT_S:g} s it is still {word} {found[0].reason if found else ''}")
        await asyncio.sleep(0.2)


def _refused(console: Console, channel: str, error: CrownError) -> None:
    metadata: Mapping[str, str] = error.metadata or {}
    violations = [(f"{one.field}", one.description) for one in error.violations]
    words = " ".join((error.message, *(text for _, text in violations)))
    _print(
        console,
        [
            ("refused", error.reason),
            ("message", error.message),
            *violations,
            *sorted(metadata.items()),
            ("retry after", f"{error.retry_after_s:g} s" if error.retry_after_s else ""),
            ("hint", hint(channel, error.reason, words, metadata)),
        ],
    )


def _print(console: Console, told: Iterable[tuple[str, str]]) -> None:
    for name, value in told:
        if value:
            console.print(f"[dim]{name:<14}[/]", end="")
            console.print(value, markup=False, soft_wrap=True)
