"""Push to browsers, against a push service: every row of the table in services/push/web_push/provider.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.struct_pb2 import Struct

from crown.egress import Egress
from crown.http import Http
from crown.notification.v1.types_pb2 import Category, DeviceKind
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.recipients import Destination
from crown.rendering import Links
from services.push.message import Message, collapse_id, compose
from services.push.together import Gone
from services.push.web_push.crypto import BODY_MOST_BYTES
from services.push.web_push.provider import WebPush
from services.push.web_push.vapid import Vapid
from tests.unit.services.push.push_service import Browser, PushService, opened

Make = Callable[..., Attempt]
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CONTACT = "mailto:ops@crown.example"


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    async with opened() as service:
        yield service


@pytest.fixture
async def web_push(service: PushService) -> AsyncIterator[WebPush]:
    egress = Egress.of([service.host])
    vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), CONTACT)
    client = WebPush(Http(timeout_s=0.5, egress=egress), egress, vapid, clock=lambda: NOW)
    yield client
    await client.close()


@pytest.fixture
def browser(service: PushService) -> Browser:
    return Browser(f"{service.url}/push/b1")


@pytest.fixture
def message(attempt: Make, links: Links) -> Message:
    return compose(attempt("t"), links, NOW, badge=2)


async def test_a_message_arrives(
    web_push: WebPush, service: PushService, browser: Browser, message: Message
) -> None:
    assert await web_push.send(message, [browser.destination]) == [Delivered("message-7")]
    ((path, headers, body),) = service.asked
    assert path == "/push/b1"
    wanted = {
        "Content-Encoding": "aes128gcm",
        "TTL": "2419200",
        "Urgency": "normal",
        "Topic": collapse_id("n-1"),
    }
    assert wanted.items() <= headers.items()
    assert service.claims()["sub"] == CONTACT
    assert browser.read(body) == {
        "notification_id": "n-1",
        "delivery_id": "d" * 32,
        "kind": "message",
        "title": "New message",
        "message": "You have a new message from John",
        "action_url": "/m/1",
        "link": "https://crown.example/m/1",
        "tag": collapse_id("n-1"),
        "badge": 2,
    }


async def test_all_it_can_say(
    web_push: WebPush, service: PushService, browser: Browser, attempt: Make, links: Links
) -> None:
    extra = Struct()
    extra.update({"thread": {"id": 7}, "from": "ann"})
    given = attempt(
        "t",
        category=Category.SECURITY,
        expire_time=NOW + timedelta(seconds=90),
        collapse_key="score",
        image_url="https://crown.example/a.png",
        extra=extra,
    )
    await web_push.send(compose(given, links, NOW, badge=0), [browser.destination])
    ((_, headers, body),) = service.asked
    assert (headers["TTL"], headers["Urgency"], headers["Topic"]) == ("90", "high", collapse_id("score"))
    found = browser.read(body)
    assert (found["badge"], found["image_url"]) == (0, "https://crown.example/a.png")
    assert found["extra"] == {"thread": {"id": 7}, "from": "ann"}


async def test_each_browser_gets_its_own(web_push: WebPush, service: PushService, message: Message) -> None:
    browsers = [Browser(f"{service.url}/push/b{n}") for n in range(3)]
    results = await web_push.send(message, [one.destination for one in browsers])
    assert results == [Delivered("message-7")] * 3
    by_path = {path: body for path, _, body in service.asked}
    for n, one in enumerate(browsers):
        assert one.read(by_path[f"/push/b{n}"])["title"] == "New message"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({"status": 200}, Delivered(), id="200"),
        pytest.param({"status": 202}, Delivered(), id="202"),
        pytest.param({"status": 204}, Unknown("204"), id="another 2xx"),
        pytest.param(
            {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, Retry("302"), id="redirect"
        ),
        pytest.param(
            {"status": 307, "headers": {"Location": "/"}}, Retry("307"), id="redirect with the body"
        ),
        pytest.param({"status": 400, "body": "what?"}, Discard("PROVIDER_REFUSED", "400"), id="400"),
        pytest.param(
            {"status": 400, "body": '{"reason":"VapidPkHashMismatch"}'},
            Retry("VAPID_REFUSED"),
            id="400 of Apple",
        ),
        pytest.param(
            {"status": 400, "body": "UnauthorizedRegistration"}, Retry("VAPID_REFUSED"), id="400 of Google"
        ),
        pytest.param({"status": 401}, Retry("VAPID_REFUSED"), id="401"),
        pytest.param({"status": 403}, Retry("VAPID_REFUSED"), id="403"),
        pytest.param({"status": 404}, Gone("404"), id="404"),
        pytest.param({"status": 408}, Retry("408"), id="408"),
        pytest.param({"status": 410}, Gone("410"), id="410"),
        pytest.param({"status": 413}, Discard("PAYLOAD_TOO_LARGE", "413"), id="413"),
        pytest.param({"status": 418}, Discard("PROVIDER_REFUSED", "418"), id="another 4xx"),
        pytest.param({"status": 429}, Snooze("429", 60.0), id="429"),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "7"}}, Snooze("429", 7.0), id="429 Retry-After"
        ),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "soon"}}, Snooze("429", 60.0), id="429 garbage"
        ),
        pytest.param({"status": 500}, Retry("500"), id="500"),
        pytest.param(
            {"status": 503, "headers": {"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT"}},
            Retry("503", 30.0),
            id="503 with a date",
        ),
        pytest.param({"status": 502}, Unknown("502"), id="502"),
        pytest.param({"hangs_up": True}, Unknown("CONNECTION_LOST"), id="no answer"),
    ],
)
async def test_what_a_push_service_does(
    web_push: WebPush,
    service: PushService,
    browser: Browser,
    message: Message,
    answer: dict[str, Any],
    expected: Outcome | Gone,
) -> None:
    for name, value in answer.items():
        setattr(service, name, value)
    assert await web_push.send(message, [browser.destination]) == [expected]
    # Nothing is followed, nothing retried out of sight.
    assert len(service.asked) == 1


async def test_nobody_listens(message: Message, unused_tcp_port: int) -> None:
    egress = Egress.of([f"127.0.0.1:{unused_tcp_port}"])
    client = WebPush(Http(egress=egress), egress, Vapid(ec.generate_private_key(ec.SECP256R1()), CONTACT))
    browser = Browser(f"http://127.0.0.1:{unused_tcp_port}/push/b1")
    assert await client.send(message, [browser.destination]) == [Retry("CONNECT_FAILED")]
    await client.close()


async def test_a_host_that_is_not_allowed_any_more(
    web_push: WebPush, service: PushService, message: Message
) -> None:
    browser = Browser("https://push.example.org/b1")
    assert await web_push.send(message, [browser.destination]) == [
        Discard("PROVIDER_REFUSED", "HOST_NOT_ALLOWED")
    ]
    assert service.asked == []


async def test_keys_that_are_none(web_push: WebPush, service: PushService, message: Message) -> None:
    place = Destination("b1", f"{service.url}/push/b1", DeviceKind.WEB_PUSH)
    assert await web_push.send(message, [place]) == [Discard("PROVIDER_REFUSED", "KEYS_INVALID")]
    assert service.asked == []


@pytest.mark.parametrize("text", ["x" * 8_000, "ü" * 8_000, '"' * 8_000])
async def test_a_long_text_is_cut_to_fit(
    web_push: WebPush, service: PushService, browser: Browser, attempt: Make, links: Links, text: str
) -> None:
    results = await web_push.send(compose(attempt("t", message=text), links, NOW), [browser.destination])
    assert results == [Delivered("message-7")]
    ((_, _, body),) = service.asked
    assert BODY_MOST_BYTES - 2 <= len(body) <= BODY_MOST_BYTES
    assert browser.read(body)["message"].endswith("…")


async def test_what_the_app_finds_in_it_is_never_cut(
    web_push: WebPush, service: PushService, browser: Browser, attempt: Make, links: Links
) -> None:
    extra = Struct()
    extra.update({"x": "x" * 4_000})
    (found,) = await web_push.send(compose(attempt("t", extra=extra), links, NOW), [browser.destination])
    assert isinstance(found, Discard)
    assert found.reason == "PAYLOAD_TOO_LARGE"
    assert found.error.endswith(" bytes, of which 3993 are allowed")
    assert service.asked == []


async def test_one_signature_serves_many(web_push: WebPush, service: PushService, message: Message) -> None:
    browsers = [Browser(f"{service.url}/push/b{n}").destination for n in range(20)]
    await asyncio.gather(*(web_push.send(message, [one]) for one in browsers))
    assert len({headers["Authorization"] for _, headers, _ in service.asked}) == 1
