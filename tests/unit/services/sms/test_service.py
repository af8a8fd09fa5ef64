"""SmsService through a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from crown.notification.v1 import sms_service_pb2 as pb
from crown.notification.v1.channel_send_pb2 import SendReceipt
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.sms_service_pb2_grpc import SmsServiceStub
from crown.recipients import Destination
from crown.rendering import Links
from services.sms.service import SmsService

SERVICE = pb.DESCRIPTOR.services_by_name["SmsService"]
TOKEN = (("authorization", "Bearer feed"),)


class Direct:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Destination, NotificationData, str]] = []

    async def send(self, to: Destination, data: NotificationData, key: str) -> SendReceipt:
        self.sent.append((to, data, key))
        return SendReceipt(delivery_id="d1")


async def test_it_is_sent(serve: Callable[..., Any], links: Links) -> None:
    direct, data = Direct(), NotificationData(title="Hello")
    async with serve(SERVICE, SmsService(direct, links)) as channel:  # type: ignore[arg-type]
        request = pb.SendSmsRequest(to="+14155550123", data=data, idempotency_key="k")
        answer = await SmsServiceStub(channel).SendSms(request, metadata=TOKEN)
    assert answer.receipt.delivery_id == "d1"
    assert direct.sent == [(Destination("phone", "+14155550123"), data, "k")]


@pytest.mark.parametrize("to", ["4155550123", "+1415555012", "+999123456789"])
async def test_no_number(serve: Callable[..., Any], links: Links, to: str) -> None:
    direct = Direct()
    async with serve(SERVICE, SmsService(direct, links)) as channel:  # type: ignore[arg-type]
        request = pb.SendSmsRequest(to=to, data=NotificationData(title="Hello"))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await SmsServiceStub(channel).SendSms(request, metadata=TOKEN)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert direct.sent == []
