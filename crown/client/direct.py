"""Single messages past inbox and preferences, with the provider's answer."""

from __future__ import annotations

from typing import Unpack

import grpc

from crown.client import keys
from crown.client.calls import Calls
from crown.client.draft import Content, content
from crown.notification.v1 import email_service_pb2 as emails
from crown.notification.v1 import push_service_pb2 as pushes
from crown.notification.v1 import sms_service_pb2 as texts
from crown.notification.v1.channel_send_pb2 import SendReceipt
from crown.notification.v1.device_service_pb2 import WebPushKeys
from crown.notification.v1.email_service_pb2_grpc import EmailServiceStub
from crown.notification.v1.push_service_pb2_grpc import PushServiceStub
from crown.notification.v1.sms_service_pb2_grpc import SmsServiceStub
from crown.notification.v1.types_pb2 import DeviceKind


class Direct:
    """One message on one channel, now. What may have been sent is asked for again with the same key, which answers
    the first receipt and sends nothing. Raises Refused, Suppressed and CapReached."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._emails = EmailServiceStub(channel)
        self._pushes = PushServiceStub(channel)
        self._texts = SmsServiceStub(channel)
        self._calls = calls

    async def email(
        self,
        to: str,
        *,
        template_id: str = "",
        locale: str = "",
        idempotency_key: str = "",
        **said: Unpack[Content],
    ) -> SendReceipt:
        """Sends an e-mail."""
        request = emails.SendEmailRequest(
            to=to,
            data=content(**said),
            template_id=template_id,
            locale=locale,
            idempotency_key=keys.given_or_new(idempotency_key),
        )
        return (await self._calls.unary(self._emails.SendEmail, request)).receipt

    async def push(
        self,
        token: str,
        *,
        kind: DeviceKind.Type.ValueType = DeviceKind.TOKEN,
        web_push: WebPushKeys | None = None,
        collapse_key: str = "",
        idempotency_key: str = "",
        **said: Unpack[Content],
    ) -> SendReceipt:
        """Sends a push message to one device."""
        request = pushes.SendPushRequest(
            token=token,
            data=content(**said),
            kind=kind,
            web_push=web_push,
            collapse_key=collapse_key,
            idempotency_key=keys.given_or_new(idempotency_key),
        )
        return (await self._calls.unary(self._pushes.SendPush, request)).receipt

    async def sms(self, to: str, *, idempotency_key: str = "", **said: Unpack[Content]) -> SendReceipt:
        """Sends a text message to a number in E.164 form."""
        key = keys.given_or_new(idempotency_key)
        request = texts.SendSmsRequest(to=to, data=content(**said), idempotency_key=key)
        return (await self._calls.unary(self._texts.SendSms, request)).receipt

    async def preview_sms(self, to: str = "", **said: Unpack[Content]) -> texts.PreviewSmsResponse:
        """What a text message would look like and count as."""
        request = texts.PreviewSmsRequest(to=to, data=content(**said))
        return await self._calls.unary(self._texts.PreviewSms, request)
