"""SmsService through a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from crown.clock import now
from crown.notification.v1 import sms_service_pb2 as pb
from crown.notification.v1.channel_send_pb2 import SendReceipt
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.sms_service_pb2_grpc import SmsServiceStub
from crown.recipients import Destination
from crown.rendering import Links
from services.sms.caps import Expense, Reached
from services.sms.gate import Gate
from services.sms.numbers import Numbers
from services.sms.service import SmsService
from services.sms.text import Texts

SERVICE = pb.DESCRIPTOR.services_by_name["SmsService"]
TOKEN = (("authorization", "Bearer feed"),)
OWN = "+15005550006"
HELLO = pb.SendSmsRequest(to="+14155550123", data=NotificationData(title="Hello"))
Serve = Callable[..., AbstractAsyncContextManager[grpc.aio.Channel]]


class Direct:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Destination, NotificationData, str]] = []

    async def send(self, to: Destination, data: NotificationData, key: str) -> SendReceipt:
        self.sent.append((to, data, key))
        return SendReceipt(delivery_id="d1")


class StubCaps:
    """Room for everything, until told otherwise."""

    def __init__(self) -> None:
        self.reached: Reached | None = None
        self.asked: list[Expense] = []

    async def reserve(self, asked: Expense) -> Reached | None:
        self.asked.append(asked)
        return self.reached


class Desk:
    """The service, and what it works with."""

    def __init__(self, links: Links) -> None:
        self.direct, self.caps = Direct(), StubCaps()
        gate = Gate(Texts(links), Numbers({"US", "DE"}, {"DE": "Crown"}, OWN), self.caps)  # type: ignore[arg-type]
        self.service = SmsService(self.direct, gate)  # type: ignore[arg-type]


@pytest.fixture
def desk(links: Links) -> Desk:
    return Desk(links)


@pytest.fixture
async def sms(serve: Serve, desk: Desk) -> AsyncIterator[Any]:
    async with serve(SERVICE, desk.service) as channel:
        yield SmsServiceStub(channel)


async def test_it_is_sent(sms: Any, desk: Desk) -> None:
    data = NotificationData(title="Hello")
    request = pb.SendSmsRequest(to="+14155550123", data=data, idempotency_key="k")
    answer = await sms.SendSms(request, metadata=TOKEN)
    assert (answer.receipt.delivery_id, answer.receipt.segments) == ("d1", 1)
    assert desk.direct.sent == [(Destination("phone", "+14155550123"), data, "k")]
    await sms.SendSms(request, metadata=TOKEN)
    (first, second) = desk.caps.asked
    # The same attempt, so that a repetition costs nothing.
    assert first == second
    assert first == Expense(first.attempt, "+14155550123", "US", 1, "feed", urgent=False)


@pytest.mark.parametrize(
    ("to", "data", "field", "rule"),
    [
        ("4155550123", {"title": "Hello"}, "to", "STRING_PATTERN"),
        ("+1415555012", {"title": "Hello"}, "to", "PHONE_NUMBER"),
        ("+999123456789", {"title": "Hello"}, "to", "PHONE_NUMBER"),
        ("12345", {"title": "Hello"}, "to", "STRING_PATTERN"),
        ("+19005551234", {"title": "Hello"}, "to", "NUMBER_TYPE_NOT_ALLOWED"),
        ("+491805123456", {"title": "Hello"}, "to", "NUMBER_TYPE_NOT_ALLOWED"),
        ("+33612345678", {"title": "Hello"}, "to", "COUNTRY_NOT_ALLOWED"),
        (OWN, {"title": "Hello"}, "to", "OWN_NUMBER"),
        ("+14155550123", {"title": " ", "message": "\n\u00a0"}, "data", "EMPTY_TEXT"),
    ],
)
async def test_what_is_refused(
    sms: Any, desk: Desk, to: str, data: dict[str, Any], field: str, rule: str
) -> None:
    request = pb.SendSmsRequest(to=to, data=NotificationData(**data))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await sms.SendSms(request, metadata=TOKEN)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (field, rule) in {(v.field, v.reason) for v in violations(error.value)}
    assert (desk.direct.sent, desk.caps.asked) == ([], [])


@pytest.mark.parametrize("until", [None, now() + timedelta(minutes=5)], ids=["refused", "waits"])
async def test_a_cap(sms: Any, desk: Desk, until: Any) -> None:
    desk.caps.reached = Reached("day", until)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await sms.SendSms(HELLO, metadata=TOKEN)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info(error.value) == ("CAP_REACHED", {"cap": "day"})
    assert desk.direct.sent == []


async def test_a_preview(sms: Any, desk: Desk) -> None:
    data = NotificationData(title="Grüße", message="x" * 200)
    found = await sms.PreviewSms(pb.PreviewSmsRequest(to="+491701234567", data=data), metadata=TOKEN)
    assert (found.encoding, found.units, found.segments) == ("GSM-7", 206, 2)
    assert (found.sender, found.country, found.refusal) == ("Crown", "DE", "")
    assert found.text == "Grüße\n" + "x" * 200
    emoji = NotificationData(title="🎉" * 36)
    found = await sms.PreviewSms(pb.PreviewSmsRequest(data=emoji), metadata=TOKEN)
    assert (found.encoding, found.units, found.segments) == ("UCS-2", 72, 2)
    assert (found.sender, found.country, found.refusal) == ("", "", "")
    assert (desk.direct.sent, desk.caps.asked) == ([], [])


@pytest.mark.parametrize(
    ("to", "title", "refusal"),
    [
        ("+33612345678", "Hi", "COUNTRY_NOT_ALLOWED"),
        ("+14155550123", " ", "EMPTY_TEXT"),
        ("", " ", "EMPTY_TEXT"),
    ],
)
async def test_a_preview_says_what_would_be_refused(sms: Any, to: str, title: str, refusal: str) -> None:
    request = pb.PreviewSmsRequest(to=to, data=NotificationData(title=title, message=" "))
    assert (await sms.PreviewSms(request, metadata=TOKEN)).refusal == refusal


def violations(error: grpc.aio.AioRpcError) -> list[Any]:
    found = error_details_pb2.BadRequest()
    (detail,) = (each for each in _status(error).details if each.Is(found.DESCRIPTOR))
    detail.Unpack(found)
    return list(found.field_violations)


def info(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    found = error_details_pb2.ErrorInfo()
    (detail,) = (each for each in _status(error).details if each.Is(found.DESCRIPTOR))
    detail.Unpack(found)
    return found.reason, dict(found.metadata)


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    raw = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    return status_pb2.Status.FromString(raw)
