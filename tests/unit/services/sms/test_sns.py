"""SNS, against a server that speaks as it does: every row of the table in services/sms/sns/provider.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from crown.http import Http
from crown.notification.v1.types_pb2 import Category
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.rendering import Links
from services.sms.numbers import Numbers
from services.sms.sns import wire as sns_wire
from services.sms.sns.provider import Sns
from services.sms.text import Texts

Make = Callable[..., Attempt]
KEY = ("AKIAIOSFODNN7EXAMPLE", "secret")
ANN = "+14155550123"
SENT = (
    '<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>'
    "<MessageId>567910cd</MessageId></PublishResult><ResponseMetadata><RequestId>r</RequestId>"
    "</ResponseMetadata></PublishResponse>"
)


def refusal(code: str, words: str = "No.") -> str:
    """As SNS refuses."""
    return (
        '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{words}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )


class FakeSns:
    """Answers what it is told to, and keeps what it is asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/sns"
        self.status, self.body, self.headers = 200, SENT, {}  # type: int, str, dict[str, str]
        self.hangs = self.breaks = False
        self.over = asyncio.Event()
        self.calls: list[tuple[dict[str, str], dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        form = dict(parse_qsl((await request.read()).decode()))
        self.calls.append((form, dict(request.headers)))
        if self.hangs:
            await self.over.wait()
        if self.breaks:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=self.status, text=self.body, headers=self.headers)

    @property
    def form(self) -> dict[str, str]:
        """What was asked for last."""
        return self.calls[-1][0]

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of that."""
        entries = [f"MessageAttributes.entry.{n}" for n in range(1, 6)]
        return {
            self.form[f"{entry}.Name"]: self.form[f"{entry}.Value.StringValue"]
            for entry in entries
            if f"{entry}.Name" in self.form
        }


@pytest.fixture
async def fake(free_port: int) -> AsyncIterator[FakeSns]:
    made = FakeSns(free_port)
    app = web.Application()
    app.router.add_post("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", free_port).start()
    yield made
    made.over.set()
    await runner.cleanup()


@pytest.fixture
async def sns(fake: FakeSns, links: Links) -> AsyncIterator[Sns]:
    client = make(fake.url, links)
    yield client
    await client.close()


def make(url: str, links: Links, sender: str = "Crown", **more: Any) -> Sns:
    numbers = Numbers((), {"DE": "+491700000001", "GB": "A Name"}, sender)
    return Sns(Http(timeout_s=0.5), url, KEY, "eu-west-1", numbers, Texts(links), **more)


async def test_a_text_is_sent(sns: Sns, fake: FakeSns, attempt: Make) -> None:
    assert await sns.send(attempt(ANN, message="Grüße & 1+1 🎉")) == Delivered("567910cd")
    ((form, headers),) = fake.calls
    assert (form["Action"], form["PhoneNumber"]) == ("Publish", ANN)
    assert form["Message"] == "New message\nGrüße & 1+1 🎉\nhttps://crown.example/m/1"
    assert fake.attributes == {"AWS.SNS.SMS.SMSType": "Transactional", "AWS.SNS.SMS.SenderID": "Crown"}
    assert "Credential=AKIAIOSFODNN7EXAMPLE/" in headers["Authorization"]
    assert "/eu-west-1/sns/aws4_request" in headers["Authorization"]


@pytest.mark.parametrize(
    ("to", "category", "expected"),
    [
        (ANN, Category.SECURITY, {"SNS.SMS.SMSType": "Transactional", "SNS.SMS.SenderID": "Crown"}),
        (ANN, Category.MARKETING, {"SNS.SMS.SMSType": "Promotional", "SNS.SMS.SenderID": "Crown"}),
        (
            "+491701234567",
            Category.SOCIAL,
            {"SNS.SMS.SMSType": "Transactional", "MM.SMS.OriginationNumber": "+491700000001"},
        ),
        # No name that SNS takes.
        ("+447400123456", Category.SOCIAL, {"SNS.SMS.SMSType": "Transactional"}),
    ],
)
async def test_kinds_and_senders(
    sns: Sns, fake: FakeSns, attempt: Make, to: str, category: int, expected: dict[str, str]
) -> None:
    await sns.send(attempt(to, category=category))
    assert fake.attributes == {f"AWS.{name}": value for name, value in expected.items()}


async def test_a_short_code(fake: FakeSns, links: Links, attempt: Make) -> None:
    client = make(fake.url, links, sender="12345")
    await client.send(attempt(ANN))
    await client.close()
    assert fake.attributes["AWS.MM.SMS.OriginationNumber"] == "12345"


async def test_a_price(fake: FakeSns, links: Links, attempt: Make) -> None:
    client = make(fake.url, links, price_most="0.10")
    await client.send(attempt(ANN))
    await client.close()
    assert fake.attributes["AWS.SNS.SMS.MaxPrice"] == "0.10"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, "<p>hello", Unknown("200"), id="200 with garbage"),
        pytest.param(200, SENT.replace("567910cd", ""), Unknown("NO_MESSAGE_ID"), id="200 without an id"),
        pytest.param(200, SENT[:120], Unknown("200"), id="200 cut off"),
        pytest.param(200, SENT.replace("PublishResult", "Result"), Unknown("200"), id="200 without a result"),
        pytest.param(400, refusal("OptedOut")[:120], Retry("400"), id="400 cut off"),
        pytest.param(302, "", Retry("302"), id="302"),
        pytest.param(400, refusal("OptedOut"), Discard("OPTED_OUT", "OptedOut"), id="opted out"),
        pytest.param(
            400,
            refusal(
                "InvalidParameter", f"Invalid parameter: PhoneNumber Reason: {ANN} is not valid to publish to"
            ),
            Discard("INVALID_NUMBER", "InvalidParameter"),
            id="number",
        ),
        pytest.param(
            400,
            refusal("InvalidParameter", "Invalid parameter: Empty message"),
            Discard("INVALID_CONTENT", "InvalidParameter"),
            id="message",
        ),
        pytest.param(
            400,
            refusal("InvalidParameter", "Invalid parameter: MessageAttributes Reason: SenderID"),
            Retry("InvalidParameter"),
            id="sender",
        ),
        pytest.param(
            400,
            refusal("ParameterValueInvalid", "PhoneNumber"),
            Discard("INVALID_NUMBER", "ParameterValueInvalid"),
            id="value",
        ),
        pytest.param(400, refusal("Throttling"), Snooze("Throttling"), id="throttled"),
        pytest.param(400, refusal("KMSThrottling"), Snooze("KMSThrottling"), id="throttled by KMS"),
        pytest.param(429, refusal("Whatever"), Snooze("Whatever"), id="429"),
        pytest.param(403, refusal("AuthorizationError"), Retry("AuthorizationError"), id="not allowed"),
        pytest.param(403, refusal("InvalidClientTokenId"), Retry("InvalidClientTokenId"), id="wrong key"),
        pytest.param(
            403, refusal("SignatureDoesNotMatch"), Retry("SignatureDoesNotMatch"), id="wrong secret"
        ),
        pytest.param(400, refusal("RequestExpired"), Retry("RequestExpired"), id="clock"),
        pytest.param(403, refusal("InvalidSecurity"), Retry("InvalidSecurity"), id="security"),
        pytest.param(404, refusal("NotFound"), Retry("NotFound"), id="not found"),
        pytest.param(400, refusal("EndpointDisabled"), Retry("EndpointDisabled"), id="endpoint"),
        pytest.param(
            400, refusal("PlatformApplicationDisabled"), Retry("PlatformApplicationDisabled"), id="platform"
        ),
        *(
            pytest.param(400, refusal(code), Retry(code), id=code)
            for code in (
                "KMSDisabled",
                "KMSInvalidState",
                "KMSNotFound",
                "KMSOptInRequired",
                "KMSAccessDenied",
            )
        ),
        pytest.param(400, refusal("Levitation"), Discard("PROVIDER_REFUSED", "Levitation"), id="another"),
        pytest.param(403, "<html>proxy</html>", Retry("403"), id="a proxy's 403"),
        pytest.param(500, refusal("InternalError"), Unknown("InternalError"), id="500"),
        pytest.param(503, refusal("ServiceUnavailable"), Unknown("ServiceUnavailable"), id="503"),
        pytest.param(502, "<html>bad gateway</html>", Unknown("502"), id="502"),
    ],
)
async def test_what_sns_does(
    sns: Sns, fake: FakeSns, attempt: Make, status: int, body: str, expected: Outcome
) -> None:
    fake.status, fake.body = status, body
    assert await sns.send(attempt(ANN)) == expected
    # Nothing is retried out of sight.
    assert len(fake.calls) == 1


async def test_retry_after(sns: Sns, fake: FakeSns, attempt: Make) -> None:
    fake.status, fake.body, fake.headers = 429, refusal("Throttling"), {"Retry-After": "3"}
    assert await sns.send(attempt(ANN)) == Snooze("Throttling", 3.0)
    fake.body = "<html>slow down"
    assert await sns.send(attempt(ANN)) == Snooze("429", 3.0)


async def test_no_answer(sns: Sns, fake: FakeSns, attempt: Make) -> None:
    fake.hangs = True
    assert await sns.send(attempt(ANN)) == Unknown("TIMEOUT")
    fake.hangs, fake.breaks = False, True
    assert await sns.send(attempt(ANN)) == Unknown("CONNECTION_LOST")
    assert len(fake.calls) == 2


async def test_nobody_listens(free_port: int, links: Links, attempt: Make) -> None:
    client = make(f"http://127.0.0.1:{free_port}", links)
    assert await client.send(attempt(ANN)) == Retry("CONNECT_FAILED")
    await client.close()


async def test_nobody_can_say_what_became_of_a_text(sns: Sns, attempt: Make) -> None:
    given = attempt(ANN)
    assert await sns.find(given, given.create_time) is None


async def test_the_environment_of_aws_changes_nothing(
    fake: FakeSns, links: Links, attempt: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_PROFILE": "nobody",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_ACCESS_KEY_ID": "OTHER",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_SESSION_TOKEN": "other",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_SNS": "http://127.0.0.1:9",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_MAX_ATTEMPTS": "9",
        "AWS_RETRY_MODE": "legacy",
        "AWS_DEFAULTS_MODE": "auto",
        "AWS_CA_BUNDLE": "/nowhere",
        "AWS_DATA_PATH": "/nowhere",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    # One that has not looked around yet.
    sns_wire._session.cache_clear()
    client = make(fake.url, links)
    fake.status, fake.body = 500, refusal("InternalError")
    assert await client.send(attempt(ANN)) == Unknown("InternalError")
    await client.close()
    ((_, headers),) = fake.calls
    assert "Credential=AKIAIOSFODNN7EXAMPLE/" in headers["Authorization"]
    assert "/eu-west-1/sns/" in headers["Authorization"]
    assert "X-Amz-Security-Token" not in headers
