"""Signatures of SNS, the certificates that make them, and addresses that only look like those of SNS."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from crown.clock import now
from crown.errors import ProviderUnavailable, SignatureInvalid
from crown.http import Answer
from services.sms.sns.certificates import Certificates
from services.sms.sns.signature import SnsSignature
from tests.unit.services.sms.sns_signer import TOPIC, Signer, elliptic_certificate, notification, subscription

SIGNER, OTHER = Signer(), Signer()


class Site:
    """Serves certificates, and counts who asks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, bytes] = {"/cert.pem": SIGNER.pem}
        self.status = 200
        self.calls: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append(request.path_qs)
        page = self.pages.get(request.path)
        status = self.status if page is not None else 404
        headers = {"Location": f"{self.url}/cert.pem"} if status == 302 else {}
        return web.Response(status=status, body=page or b"", headers=headers)


@pytest.fixture
async def site(free_port: int) -> AsyncIterator[Site]:
    made = Site(f"http://127.0.0.1:{free_port}")
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", free_port).start()
    yield made
    await runner.cleanup()


@pytest.fixture
async def certificates(site: Site) -> AsyncIterator[Certificates]:
    made = Certificates([site.url.removeprefix("http://")])
    yield made
    await made.close()


@pytest.fixture
def signature(certificates: Certificates) -> SnsSignature:
    return SnsSignature(certificates, [TOPIC])


def encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("more", [{}, {"Subject": "Hello"}], ids=["plain", "with a subject"])
async def test_what_sns_signs(
    signature: SnsSignature, site: Site, version: str, more: dict[str, str]
) -> None:
    body = SIGNER.sign(notification(f"{site.url}/cert.pem", "a\nb\u2028", **more), version)
    envelope = await signature.open(encoded(body))
    assert (envelope.type, envelope.message) == ("Notification", "a\nb\u2028")


async def test_a_certificate_is_fetched_once(signature: SnsSignature, site: Site) -> None:
    for _ in range(3):
        await signature.open(encoded(SIGNER.sign(notification(f"{site.url}/cert.pem", "x"))))
    assert site.calls == ["/cert.pem"]


async def test_every_altered_byte(signature: SnsSignature, site: Site) -> None:
    body = SIGNER.sign(notification(f"{site.url}/cert.pem", "hello", Subject="s"))
    raw = encoded(body)
    for place in range(len(raw)):
        altered = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        try:
            if json.loads(altered) == body:
                continue
        except ValueError:
            pass
        with pytest.raises((SignatureInvalid, ProviderUnavailable)):
            await signature.open(altered)


@pytest.mark.parametrize(
    "more",
    [
        {"Signature": ""},
        {"Signature": "é"},
        {"Signature": base64.b64encode(b"x" * 256).decode()},
        {"SignatureVersion": "3"},
        {"SignatureVersion": "1"},
        {"Message": "other"},
        {"Subject": "added"},
        {"Type": "SubscriptionConfirmation"},
        {"Type": "Levitation"},
        {"MessageId": "other"},
        {"Timestamp": "soon"},
    ],
    ids=lambda more: ",".join(f"{name}={value[:8]}" for name, value in more.items()),
)
async def test_what_is_not_signed(signature: SnsSignature, site: Site, more: dict[str, str]) -> None:
    body = {**SIGNER.sign(notification(f"{site.url}/cert.pem", "hello")), **more}
    with pytest.raises(SignatureInvalid):
        await signature.open(encoded(body))


async def test_another_key(signature: SnsSignature, site: Site) -> None:
    with pytest.raises(SignatureInvalid):
        await signature.open(encoded(OTHER.sign(notification(f"{site.url}/cert.pem", "hello"))))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 5_000, b"x" * (1 << 20)])
async def test_what_is_no_message(signature: SnsSignature, site: Site, body: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        await signature.open(body)
    assert site.calls == []


async def test_a_topic_that_is_not_ours(certificates: Certificates, site: Site) -> None:
    body = encoded(SIGNER.sign(notification(f"{site.url}/cert.pem", "hello")))
    for topics in ([], [f"{TOPIC}2"]):
        with pytest.raises(SignatureInvalid):
            await SnsSignature(certificates, topics).open(body)
    # Nobody was called for it.
    assert site.calls == []


@pytest.mark.parametrize(
    ("age", "good"),
    [
        (timedelta(minutes=59), True),
        (timedelta(minutes=61), False),
        (timedelta(minutes=-4), True),
        (timedelta(minutes=-6), False),
        (timedelta(days=-3_000), False),
    ],
)
async def test_age(signature: SnsSignature, site: Site, age: timedelta, good: bool) -> None:
    moment = (now() - age).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = encoded(SIGNER.sign(notification(f"{site.url}/cert.pem", "hello", Timestamp=moment)))
    if good:
        await signature.open(body)
        return
    with pytest.raises(SignatureInvalid):
        await signature.open(body)


LOOK_ALIKES = [
    "",
    "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-1.pem",
    "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.evil.example/SimpleNotificationService-1.pem",
    "https://sns.amazonaws.com/SimpleNotificationService-1.pem",
    "https://snsx.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.eu.west.amazonaws.com/SimpleNotificationService-1.pem",
    "https://bucket.s3.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.s3.amazonaws.com.s3.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com/cert.pem",
    "https://sns.eu-west-1.amazonaws.com/?Action=Publish&Message=x#/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem/../x",
    "https://sns.eu-west-1.amazonaws.com\\@evil.example/SimpleNotificationService-1.pem",
    "https://sns.eu-west-1.amazonaws.cn/SimpleNotificationService-1.pem",
    "https://169.254.169.254/SimpleNotificationService-1.pem",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("url", LOOK_ALIKES)
async def test_addresses_that_only_look_like_those_of_sns(signature: SnsSignature, url: str) -> None:
    with pytest.raises(SignatureInvalid):
        await signature.open(encoded(SIGNER.sign(notification(url, "hello"))))


@pytest.mark.parametrize(
    "url",
    [
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem",
        "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-f3ecfb72.pem",
        "https://sns.us-gov-west-1.amazonaws.com/SimpleNotificationService-f3ecfb72.pem",
    ],
)
async def test_those_of_sns_are_called(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    asked: list[str] = []
    served = SIGNER.pem

    async def get(url: str, _headers: object, _query: object) -> Answer:
        asked.append(url)
        return Answer(200, {}, served)

    monkeypatch.setattr(certificates._http, "get", get)
    body = SIGNER.sign(notification(url, "hello"))
    assert (await SnsSignature(certificates, [TOPIC]).open(encoded(body))).message == "hello"
    assert asked == [url]
    # A certificate that is for somebody else is none, wherever it lies.
    served, certificates._keys = STRANGER.pem, {}
    with pytest.raises(SignatureInvalid):
        await certificates.key(url)


STRANGER = Signer("sns.amazonaws.com.evil.example")


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="garbage"),
        pytest.param(elliptic_certificate(), id="no RSA"),
        pytest.param(Signer(bits=1024).pem, id="short"),
        pytest.param(Signer(ends=datetime.now(UTC) - timedelta(hours=1)).pem, id="over"),
        pytest.param(
            Signer(
                begins=datetime.now(UTC) + timedelta(hours=1), ends=datetime.now(UTC) + timedelta(days=2)
            ).pem,
            id="not yet",
        ),
        pytest.param(SIGNER.pem + b"\n" * (17 << 10), id="huge"),
    ],
)
async def test_what_is_no_certificate(certificates: Certificates, site: Site, pem: bytes) -> None:
    site.pages["/cert.pem"] = pem
    for _ in range(3):
        with pytest.raises(SignatureInvalid):
            await certificates.key(f"{site.url}/cert.pem")
    # Not asked for again and again.
    assert site.calls == ["/cert.pem"]


async def test_redirects_are_not_followed(certificates: Certificates, site: Site) -> None:
    site.pages["/moved.pem"], site.status = b"", 302
    with pytest.raises(SignatureInvalid):
        await certificates.key(f"{site.url}/moved.pem")
    assert site.calls == ["/moved.pem"]


async def test_sns_away_is_no_forgery(certificates: Certificates, site: Site, free_port: int) -> None:
    site.status = 503
    with pytest.raises(ProviderUnavailable):
        await certificates.key(f"{site.url}/cert.pem")
    site.status = 200
    assert await certificates.key(f"{site.url}/cert.pem")


async def test_issuers(site: Site) -> None:
    host, issuer = site.url.removeprefix("http://"), Signer("A Sandbox")
    issued = Signer(issuer=issuer)
    site.pages["/issued.pem"] = issued.pem
    certificates = Certificates([host], [issuer.certificate])
    assert await certificates.key(f"{site.url}/issued.pem")
    with pytest.raises(SignatureInvalid):
        await certificates.key(f"{site.url}/cert.pem")
    await certificates.close()


async def test_a_subscription_is_confirmed(
    certificates: Certificates, signature: SnsSignature, site: Site
) -> None:
    site.pages["/"] = b"<ConfirmSubscriptionResponse/>"
    confirm = f"{site.url}/?Action=ConfirmSubscription&Token=2336"
    envelope = await signature.open(encoded(SIGNER.sign(subscription(f"{site.url}/cert.pem", confirm))))
    await certificates.visit(envelope.subscribe_url or "")
    assert site.calls == ["/cert.pem", "/?Action=ConfirmSubscription&Token=2336"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://evil.example/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com/?Action=Publish&x=Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com/other?Action=ConfirmSubscription",
        "http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        "http://169.254.169.254/?Action=ConfirmSubscription",
    ],
)
async def test_what_is_not_visited(certificates: Certificates, url: str) -> None:
    with pytest.raises(SignatureInvalid):
        await certificates.visit(url)
