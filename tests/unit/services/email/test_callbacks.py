"""EmailCallbackService through a real server: signatures before all else, suppressions before the bus, links that are
all it takes to unsubscribe."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.rpc import error_details_pb2, status_pb2
from pymongo.errors import AutoReconnect

from crown.bus import Outgoing
from crown.errors import BusUnavailable
from crown.notification.v1 import email_callback_service_pb2 as pb
from crown.notification.v1.email_callback_service_pb2_grpc import EmailCallbackServiceStub
from crown.notification.v1.events_pb2 import CallbackEvent
from crown.notification.v1.types_pb2 import CallbackType, Category, Channel, SuppressionReason
from services.email.callbacks import EmailCallbackService
from services.email.sendgrid import signature as sendgrid_signature
from services.email.sendgrid.signature import SendGridSignature
from services.email.unsubscribe_link import UnsubscribeLinks
from tests.sendgrid_signer import Signer

SERVICE = pb.DESCRIPTOR.services_by_name["EmailCallbackService"]
SIGNER = Signer()
LINKS = UnsubscribeLinks({"k": b"k" * 32}, "https://api.crown.example")


class Books:
    """Stands in for the bus, the suppressions and the preferences; keeps what is written, in order."""

    def __init__(self) -> None:
        self.written: list[tuple[Any, ...]] = []
        self.bus_away = self.store_away = False

    async def publish_many(self, messages: Iterable[Outgoing]) -> None:
        if self.bus_away:
            raise BusUnavailable("away")
        for message in messages:
            self.written.append((message.subject, CallbackEvent.FromString(message.data).type))

    async def add(self, channel: int, address: str, reason: int, source: str) -> None:
        self.written.append((channel, address, reason, source))

    async def choose(self, user_id: str, category: int, channel: int, on: bool) -> None:
        if self.store_away:
            raise AutoReconnect("away")
        self.written.append((user_id, category, channel, on))


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
async def stub(serve: Callable[..., Any], books: Any) -> AsyncIterator[EmailCallbackServiceStub]:
    signature = SendGridSignature(sendgrid_signature.keys(SIGNER.public))
    async with serve(
        SERVICE, EmailCallbackService(books, books, books, signature, LINKS, "Crown")
    ) as channel:
        yield EmailCallbackServiceStub(channel)


def event(kind: str, **given: Any) -> dict[str, Any]:
    return {
        "event": kind,
        "email": "ann@example.org",
        "timestamp": int(time.time()),
        "sg_message_id": "m1.filter",
        "delivery_id": "d" * 32,
        **given,
    }


async def post(
    stub: EmailCallbackServiceStub, body: bytes, signer: Signer = SIGNER, age: int = 0
) -> HttpBody:
    headers = tuple(signer.headers(body, age).items())
    request = pb.ReceiveSendGridEventsRequest(body=HttpBody(content_type="application/json", data=body))
    return await stub.ReceiveSendGridEvents(request, metadata=headers)


def reason(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    raw: Any = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    assert any(part.Unpack(info) for part in status_pb2.Status.FromString(raw).details)
    return error.code(), info.reason


async def test_events_are_taken_and_suppress_first(stub: EmailCallbackServiceStub, books: Books) -> None:
    told = [event("delivered"), event("spamreport"), event("bounce", type="bounce", email="Bob@example.org")]
    assert await post(stub, json.dumps(told).encode()) == HttpBody(content_type="text/plain")
    subject = "crown.event.callback.email"
    assert sorted(books.written[:2]) == [
        (Channel.EMAIL, "Bob@example.org", SuppressionReason.BOUNCE, "sendgrid"),
        (Channel.EMAIL, "ann@example.org", SuppressionReason.COMPLAINT, "sendgrid"),
    ]
    assert books.written[2:] == [
        (subject, CallbackType.DELIVERED),
        (subject, CallbackType.COMPLAINED),
        (subject, CallbackType.BOUNCED),
    ]


async def test_the_first_reason_of_an_address_counts(stub: EmailCallbackServiceStub, books: Books) -> None:
    await post(stub, json.dumps([event("bounce", type="bounce"), event("spamreport")]).encode())
    assert books.written[0] == (Channel.EMAIL, "ann@example.org", SuppressionReason.BOUNCE, "sendgrid")
    assert len(books.written) == 3


async def test_nothing_of_ours_is_taken_and_nothing_is_written(
    stub: EmailCallbackServiceStub, books: Books
) -> None:
    await post(stub, json.dumps([event("delivered", delivery_id="another"), {"x": 1}]).encode())
    assert books.written == []


async def test_the_bus_is_away(stub: EmailCallbackServiceStub, books: Books) -> None:
    """SendGrid tries again; the suppression stands already, and is written once more then."""
    books.bus_away = True
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await post(stub, json.dumps([event("spamreport")]).encode())
    assert reason(error.value) == (grpc.StatusCode.UNAVAILABLE, "BUS_UNAVAILABLE")
    assert len(books.written) == 1


@pytest.mark.parametrize(
    "given", [{"signer": Signer()}, {"age": 302}, {"age": -302}], ids=["key", "old", "ahead"]
)
async def test_not_sendgrid(stub: EmailCallbackServiceStub, books: Books, given: dict[str, Any]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        # Not even whether it is JSON is looked at before.
        await post(stub, b"no json", **given)
    assert reason(error.value) == (grpc.StatusCode.PERMISSION_DENIED, "SIGNATURE_INVALID")
    assert books.written == []


async def test_no_headers_at_all(stub: EmailCallbackServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.ReceiveSendGridEvents(pb.ReceiveSendGridEventsRequest(body=HttpBody(data=b"[]")))
    assert reason(error.value) == (grpc.StatusCode.PERMISSION_DENIED, "SIGNATURE_INVALID")


async def test_signed_and_no_list(stub: EmailCallbackServiceStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await post(stub, b"{}")
    assert reason(error.value) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE")


async def test_a_mebibyte_and_no_more(stub: EmailCallbackServiceStub) -> None:
    room = (1 << 20) - 2
    await post(stub, b"[" + b" " * room + b"]")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await post(stub, b"[" + b" " * (room + 8_192) + b"]")
    assert reason(error.value) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE")


def token(user_id: str = "user1", category: Category.Type.ValueType = Category.SOCIAL) -> str:
    return LINKS.url(user_id, category).rpartition("/")[2]


async def test_looking_changes_nothing(stub: EmailCallbackServiceStub, books: Books) -> None:
    call = stub.ShowUnsubscribe(
        pb.ShowUnsubscribeRequest(token=token()), metadata=(("accept-language", "de-DE,de;q=0.9"),)
    )
    answer = await call
    assert answer.content_type == "text/html; charset=utf-8"
    page = answer.data.decode()
    assert "<h1>Abbestellen?</h1>" in page
    assert '<form method="post">' in page
    # Who it is for is not told to whoever looks.
    assert "user1" not in page
    headers = dict(await call.initial_metadata())
    assert str(headers["content-security-policy"]).startswith("default-src 'none'; style-src 'sha256-")
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-robots-tag"] == "noindex, nofollow"
    assert headers["cache-control"] == "no-store"
    assert headers["content-language"] == "de"
    assert books.written == []


@pytest.mark.parametrize("body", [b"List-Unsubscribe=One-Click", b"", b"\xff\x00", b"user_id=eve"])
async def test_a_post_unsubscribes_whatever_is_in_it(
    stub: EmailCallbackServiceStub, books: Books, body: bytes
) -> None:
    kind = "application/x-www-form-urlencoded"
    request = pb.UnsubscribeRequest(
        token=token(category=Category.MARKETING), body=HttpBody(content_type=kind, data=body)
    )
    for _ in range(2):
        assert "<h1>You are unsubscribed</h1>" in (await stub.Unsubscribe(request)).data.decode()
    assert books.written == [("user1", Category.MARKETING, Channel.EMAIL, False)] * 2


@pytest.mark.parametrize(
    "written",
    [
        "",
        "x",
        "é",
        token()[:-1],
        UnsubscribeLinks({"k": b"x" * 32}, "https://x.example")
        .url("user1", Category.SOCIAL)
        .rpartition("/")[2],
    ],
    ids=["nothing", "short", "no ASCII", "cut", "of another key"],
)
async def test_a_bad_link(stub: EmailCallbackServiceStub, books: Books, written: str) -> None:
    """All are answered the same."""
    for call in (
        stub.ShowUnsubscribe(pb.ShowUnsubscribeRequest(token=written)),
        stub.Unsubscribe(pb.UnsubscribeRequest(token=written)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert reason(error.value) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        assert error.value.details() == "this link is not one of ours, was altered, or is too old"
    assert books.written == []


BROWSER = (("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("accept-language", "de"))


async def test_a_bad_link_in_a_browser(stub: EmailCallbackServiceStub, books: Books) -> None:
    for call in (
        stub.ShowUnsubscribe(pb.ShowUnsubscribeRequest(token="x"), metadata=BROWSER),
        stub.Unsubscribe(pb.UnsubscribeRequest(token="x"), metadata=BROWSER),
    ):
        answer = await call
        assert "<h1>Dieser Link funktioniert nicht</h1>" in answer.data.decode()
        headers = dict(await call.initial_metadata())
        assert headers["x-crown-status"] == "404"
        assert headers["referrer-policy"] == "no-referrer"
    assert books.written == []


async def test_the_store_is_away(stub: EmailCallbackServiceStub, books: Books) -> None:
    books.store_away = True
    request = pb.UnsubscribeRequest(token=token())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Unsubscribe(request)
    assert reason(error.value) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    call = stub.Unsubscribe(request, metadata=BROWSER)
    assert "<h1>Gerade nicht</h1>" in (await call).data.decode()
    assert dict(await call.initial_metadata())["x-crown-status"] == "503"
