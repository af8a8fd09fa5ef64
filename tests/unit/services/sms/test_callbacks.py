"""SmsCallbackService through a real server: signatures before all else, suppressions before the bus."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from twilio.request_validator import RequestValidator

from crown.bus import Outgoing
from crown.errors import BusUnavailable, SignatureInvalid
from crown.notification.v1 import sms_callback_service_pb2 as pb
from crown.notification.v1.events_pb2 import CallbackEvent
from crown.notification.v1.sms_callback_service_pb2_grpc import SmsCallbackServiceStub
from crown.notification.v1.types_pb2 import CallbackType, Channel, SuppressionReason
from services.sms.callbacks import SmsCallbackService
from services.sms.keywords import Word
from services.sms.sns.signature import Envelope
from services.sms.twilio.signature import TwilioSignature

SERVICE = pb.DESCRIPTOR.services_by_name["SmsCallbackService"]
GATEWAY = "https://api.crown.example"
STATUS, INBOUND = "/webhooks/twilio/status", "/webhooks/twilio/inbound"
TOKEN = "a" * 32
SID, DELIVERY = "SM" + "0" * 32, "d" * 32
NOTIFICATION = "0191d6f1-0000-7000-8000-000000000000"
ANN = "+14155550123"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:texts"


class Books:
    """Stands in for the bus, the suppressions, SNS, and what obeys texts; keeps what is done, in order."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.bus_away = False
        self.envelope: Envelope | None = None

    async def publish(self, message: Outgoing) -> None:
        if self.bus_away:
            raise BusUnavailable("away")
        event = CallbackEvent.FromString(message.data)
        self.done.append((message.subject, event.type, event.delivery_id, event.provider_message_id))

    async def add(self, channel: int, address: str, reason: int, source: str) -> None:
        self.done.append((channel, address, reason, source))

    async def obey(self, word: Word, number: str, provider: str, message_id: str) -> None:
        self.done.append((word, number, provider, message_id))

    async def open(self, body: bytes) -> Envelope:
        if self.envelope is None:
            raise SignatureInvalid("no")
        return self.envelope

    async def visit(self, url: str) -> None:
        self.done.append(("visit", url))


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
async def stub(serve: Callable[..., Any], books: Any) -> AsyncIterator[Any]:
    twilio = TwilioSignature((TOKEN,))
    status = f"{GATEWAY}{STATUS}"
    help = "Crown: texts about <your> account & more."
    service = SmsCallbackService(books, books, books, twilio, books, books, status, GATEWAY, help)
    async with serve(SERVICE, service) as channel:
        yield SmsCallbackServiceStub(channel)


def call(
    path: str, form: Mapping[str, str], token: str = TOKEN
) -> tuple[HttpBody, tuple[tuple[str, str], ...]]:
    """What Twilio posts, and the headers that come with it through the gateway."""
    signature = RequestValidator(token).compute_signature(f"{GATEWAY}{path}", form)
    headers = (("x-twilio-signature", signature), ("x-envoy-original-path", path))
    return HttpBody(content_type="application/x-www-form-urlencoded", data=urlencode(form).encode()), headers


async def status(stub: Any, token: str = TOKEN, delivery: str = DELIVERY, **form: str) -> HttpBody:
    query = urlencode({"notification_id": NOTIFICATION, "delivery_id": delivery})
    body, headers = call(f"{STATUS}?{query}", {"MessageSid": SID, "To": ANN, **form}, token)
    request = pb.ReceiveTwilioStatusRequest(notification_id=NOTIFICATION, delivery_id=delivery, body=body)
    answer: HttpBody = await stub.ReceiveTwilioStatus(request, metadata=headers)
    return answer


async def text(stub: Any, **form: str) -> str:
    body, headers = call(INBOUND, {"MessageSid": SID, "From": ANN, **form})
    answer: HttpBody = await stub.ReceiveTwilioInbound(
        pb.ReceiveTwilioInboundRequest(body=body), metadata=headers
    )
    assert answer.content_type.startswith("text/xml")
    said: str = answer.data.decode()
    return said.removeprefix('<?xml version="1.0" encoding="UTF-8"?>')


async def test_a_status_is_on_the_bus_before_it_is_answered(stub: Any, books: Books) -> None:
    await status(stub, MessageStatus="delivered")
    assert books.done == [("crown.event.callback.sms", CallbackType.DELIVERED, DELIVERY, SID)]


async def test_a_bus_that_is_away_has_twilio_try_again(stub: Any, books: Books) -> None:
    books.bus_away = True
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await status(stub, MessageStatus="delivered")
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_number_that_said_stop_to_twilio_is_suppressed_first(stub: Any, books: Books) -> None:
    await status(stub, MessageStatus="failed", ErrorCode="21610")
    assert books.done == [
        (Channel.SMS, ANN, SuppressionReason.UNSUBSCRIBE, "twilio"),
        ("crown.event.callback.sms", CallbackType.BOUNCED, DELIVERY, SID),
    ]


async def test_what_is_unknown_is_taken_and_ignored(stub: Any, books: Books) -> None:
    await status(stub, MessageStatus="levitating")
    assert books.done == []


async def test_another_key(stub: Any, books: Books) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await status(stub, token="b" * 32, MessageStatus="delivered")
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert books.done == []


async def test_the_ids_of_the_address_are_signed(stub: Any, books: Books) -> None:
    body, headers = call(f"{STATUS}?delivery_id={'e' * 32}", {"MessageSid": SID, "MessageStatus": "failed"})
    altered = tuple((name, value.replace("e" * 32, DELIVERY)) for name, value in headers)
    request = pb.ReceiveTwilioStatusRequest(delivery_id=DELIVERY, body=body)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.ReceiveTwilioStatus(request, metadata=altered)
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert books.done == []


async def test_what_is_signed_for_one_address_is_not_good_at_another(stub: Any, books: Books) -> None:
    body, headers = call(STATUS, {"MessageSid": SID, "From": ANN, "Body": "START"})
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.ReceiveTwilioInbound(pb.ReceiveTwilioInboundRequest(body=body), metadata=headers)
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert books.done == []


@pytest.mark.parametrize(
    ("form", "word", "said"),
    [
        ({"Body": "Stop!"}, Word.STOP, ""),
        ({"Body": "start"}, Word.START, ""),
        ({"Body": "hello"}, Word.OTHER, ""),
        ({"Body": ""}, Word.OTHER, ""),
        ({"Body": "HELP"}, Word.HELP, "Crown: texts about &lt;your&gt; account &amp; more."),
        # Twilio's own reading of a word that we do not know; it has answered.
        ({"Body": "arrêt", "OptOutType": "STOP"}, Word.STOP, ""),
        ({"Body": "HELP", "OptOutType": "HELP"}, Word.HELP, ""),
    ],
)
async def test_what_people_text(stub: Any, books: Books, form: dict[str, str], word: Word, said: str) -> None:
    answer = await text(stub, **form)
    assert answer == f"<Response>{f'<Message>{said}</Message>' if said else ''}</Response>"
    assert books.done == [(word, ANN, "twilio", SID)]


def envelope(message: Any, kind: str = "Notification", **more: Any) -> Envelope:
    told = message if isinstance(message, str) else json.dumps(message)
    return Envelope(kind, "m-1", TOPIC, told, "2026-11-25T12:00:00Z", "2", "…", "https://…", **more)


async def receive(stub: Any) -> None:
    await stub.ReceiveSns(pb.ReceiveSnsRequest(body=HttpBody(data=b"{}")))


@pytest.mark.parametrize(
    ("given", "done"),
    [
        (
            envelope({"eventType": "TEXT_DELIVERED", "messageId": "id-1", "eventTimestamp": 1}),
            [("crown.event.callback.sms", CallbackType.DELIVERED, "", "id-1")],
        ),
        (
            envelope(
                {
                    "notification": {"messageId": "id-1", "timestamp": "2026-11-25 11:00:00.000"},
                    "delivery": {"destination": ANN, "providerResponse": "Phone number is opted out"},
                    "status": "FAILURE",
                }
            ),
            [
                (Channel.SMS, ANN, SuppressionReason.UNSUBSCRIBE, "sns"),
                ("crown.event.callback.sms", CallbackType.BOUNCED, "", "id-1"),
            ],
        ),
        (
            envelope({"originationNumber": ANN, "messageBody": "stop"}),
            [(Word.STOP, ANN, "sns", "m-1")],
        ),
        (envelope("what is this"), []),
        (envelope("sure?", "SubscriptionConfirmation", subscribe_url="https://s"), [("visit", "https://s")]),
        (envelope("gone", "UnsubscribeConfirmation", subscribe_url="https://s"), []),
    ],
    ids=["event", "log", "text", "unknown", "subscription", "end of one"],
)
async def test_sns(stub: Any, books: Books, given: Envelope, done: list[Any]) -> None:
    books.envelope = given
    await receive(stub)
    assert books.done == done


async def test_sns_unsigned(stub: Any, books: Books) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await receive(stub)
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert books.done == []


@pytest.mark.parametrize("method", ["ReceiveTwilioStatus", "ReceiveTwilioInbound", "ReceiveSns"])
async def test_ten_megabytes(stub: Any, books: Books, method: str) -> None:
    request = getattr(pb, f"{method}Request")(body=HttpBody(data=b"x" * (10 << 20)))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await getattr(stub, method)(request)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert books.done == []
