"""EmailService through a real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from crown.notification.v1 import email_service_pb2 as pb
from crown.notification.v1.channel_send_pb2 import SendReceipt
from crown.notification.v1.email_service_pb2_grpc import EmailServiceStub
from crown.notification.v1.notification_pb2 import NotificationData
from crown.recipients import Destination
from crown.rendering import Links
from services.email.service import EmailService

SERVICE = pb.DESCRIPTOR.services_by_name["EmailService"]
TOKEN = (("authorization", "Bearer feed"),)


class Direct:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []

    async def send(
        self, to: Destination, data: NotificationData, key: str, *, template_id: str, locale: str
    ) -> SendReceipt:
        self.sent.append((to, data, key, template_id, locale))
        return SendReceipt(delivery_id="d1")


async def test_it_is_sent_to_the_normal_form(serve: Callable[..., Any], links: Links) -> None:
    direct, data = Direct(), NotificationData(title="Hello")
    async with serve(SERVICE, EmailService(direct, links)) as channel:  # type: ignore[arg-type]
        request = pb.SendEmailRequest(
            to="Ann@Example.ORG", data=data, idempotency_key="k", template_id="order", locale="pt-BR"
        )
        answer = await EmailServiceStub(channel).SendEmail(request, metadata=TOKEN)
    assert answer.receipt.delivery_id == "d1"
    assert direct.sent == [(Destination("email", "Ann@example.org"), data, "k", "order", "pt-BR")]


@pytest.mark.parametrize(
    "to", ["ann", "ann@example.org, eve@example.net", "ann@example.org\r\nBcc: eve@example.net"]
)
async def test_no_address(serve: Callable[..., Any], links: Links, to: str) -> None:
    direct = Direct()
    async with serve(SERVICE, EmailService(direct, links)) as channel:  # type: ignore[arg-type]
        request = pb.SendEmailRequest(to=to, data=NotificationData(title="Hello"))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await EmailServiceStub(channel).SendEmail(request, metadata=TOKEN)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (error.value.details() or "").startswith("to: must be one e-mail address")
    assert direct.sent == []


@pytest.mark.parametrize("field", ["action_url", "image_url"])
async def test_all_that_is_wrong_is_told(serve: Callable[..., Any], links: Links, field: str) -> None:
    direct = Direct()
    async with serve(SERVICE, EmailService(direct, links)) as channel:  # type: ignore[arg-type]
        data = NotificationData(title="Hello")
        setattr(data, field, "https://evil.example/")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await EmailServiceStub(channel).SendEmail(
                pb.SendEmailRequest(to="ann", data=data), metadata=TOKEN
            )
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    details = error.value.details() or ""
    assert "to: must be one e-mail address" in details
    assert f"data.{field}: " in details
    assert direct.sent == []


async def test_a_person_may_not(serve: Callable[..., Any], links: Links) -> None:
    async with serve(SERVICE, EmailService(Direct(), links)) as channel:  # type: ignore[arg-type]
        request = pb.SendEmailRequest(to="ann@example.org", data=NotificationData(title="Hello"))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await EmailServiceStub(channel).SendEmail(
                request, metadata=(("authorization", "Bearer user:ann"),)
            )
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
