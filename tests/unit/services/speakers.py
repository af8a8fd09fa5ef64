"""Who speaks HTTP to a provider, and how to send through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from crown.egress import Egress
from crown.http import Http
from crown.notification.v1.types_pb2 import DeviceKind
from crown.outcome import Delivered, Retry, Unknown
from crown.provider import Provider
from crown.recipients import Destination
from crown.rendering import Links
from crown.vault import Key
from crown.webhook_secrets import WebhookSecrets
from services.email.message import Composer, Letterhead
from services.email.sendgrid.provider import SendGrid
from services.ingest.webhook.provider import Webhook
from services.push.fcm.access_token import AccessToken
from services.push.fcm.provider import Fcm
from services.push.push import Push
from services.push.web_push.provider import WebPush
from services.push.web_push.vapid import Vapid
from services.sms.numbers import Numbers
from services.sms.sns.provider import Sns
from services.sms.text import Texts
from services.sms.twilio.provider import Twilio
from tests.unit.services import cases
from tests.unit.services.cases import Break, Case

ANN = "+14155550123"
SNS_TAKEN = b"<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>"


@dataclass(frozen=True)
class Speaker:
    """Sends to `to` of an origin, by what `make` makes for it, for a time limit in seconds, and what may be called.
    `breaks` are answers that no sandbox gives."""

    name: str
    make: Callable[[str, float, Egress], Provider]
    to: Callable[[str], Destination]
    cases: Sequence[Case]
    breaks: Sequence[Break]
    # Whether the sandbox plays who is spoken to.
    played: bool = True


def port_of(origin: str) -> Egress:
    """What lets a very origin be called, private or not."""
    parts = urlsplit(origin)
    return Egress.of([f"{parts.hostname}:{parts.port or 443}"])


def speakers(
    account: dict[str, Any], sns_key: str, subscription: dict[str, Any], links: Links
) -> list[Speaker]:
    """All of them. `account` is a service account, `sns_key` a key of AWS, `subscription` a browser's."""
    push = (_fcm(account, links), _web_push(account, subscription, links))
    return [_sendgrid(links), _twilio(links), _sns(sns_key, links), *push, _webhook()]


def _at(address: str) -> Callable[[str], Destination]:
    return lambda _origin: Destination("at", address)


def _sendgrid(links: Links) -> Speaker:
    composer = Composer(Letterhead("Crown", "notifications@crown.example", links))

    def make(origin: str, timeout_s: float, _egress: Egress) -> SendGrid:
        return SendGrid(Http(timeout_s=timeout_s), origin, "SG.test.key", composer)

    # Its yes has no body.
    broken = cases.breaks(202, b"", b'{"err', cut=Delivered, bad_gateway=Unknown, out=Unknown)
    return Speaker("sendgrid", make, _at("ann@example.org"), cases.SENDGRID, broken)


def _twilio(links: Links) -> Speaker:
    account, numbers = (f"AC{'0' * 32}", "twilio-token"), Numbers((), {}, "+15005550006")

    def make(origin: str, timeout_s: float, _egress: Egress) -> Twilio:
        return Twilio(Http(timeout_s=timeout_s), origin, account, numbers, Texts(links))

    broken = cases.breaks(201, b'{"sid": "SM1"}', b'{"code', cut=Unknown, bad_gateway=Unknown, out=Unknown)
    return Speaker("twilio", make, _at(ANN), cases.TWILIO, broken)


def _sns(key: str, links: Links) -> Speaker:
    name, _, secret = key.partition(":")

    def make(origin: str, timeout_s: float, _egress: Egress) -> Sns:
        http, numbers = Http(timeout_s=timeout_s), Numbers((), {}, "Crown")
        return Sns(http, f"{origin}/sns", (name, secret), "eu-west-1", numbers, Texts(links))

    broken = cases.breaks(
        200, SNS_TAKEN, b"<ErrorResponse><Error><Type>Sen", cut=Unknown, bad_gateway=Unknown, out=Unknown
    )
    return Speaker("sns", make, _at(ANN), cases.SNS, broken)


def _push(account: dict[str, Any], links: Links, fcm: Http, origin: str, web_push: WebPush | None) -> Push:
    async def none(_user_id: str) -> int:
        return 0

    async def forget(_device_ids: object) -> None:
        return

    made = Fcm(fcm, origin, account["project_id"], AccessToken(account))
    return Push("fcm", made, web_push, links, none, forget)


def _fcm(account: dict[str, Any], links: Links) -> Speaker:
    def make(origin: str, timeout_s: float, _egress: Egress) -> Push:
        return _push(account, links, Http(timeout_s=timeout_s), origin, None)

    broken = cases.breaks(200, b'{"name": "m"}', b'{"error', cut=Unknown, bad_gateway=Unknown, out=Retry)
    return Speaker("fcm", make, _at("token-1"), cases.FCM, broken)


def _web_push(account: dict[str, Any], subscription: dict[str, Any], links: Links) -> Speaker:
    vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), "mailto:ops@crown.example")
    path = urlsplit(subscription["endpoint"]).path

    def make(origin: str, timeout_s: float, egress: Egress) -> Push:
        carrier = WebPush(Http(timeout_s=timeout_s, egress=egress), egress, vapid)
        return _push(account, links, Http(timeout_s=timeout_s), origin, carrier)

    def to(origin: str) -> Destination:
        return Destination("web", f"{origin}{path}", DeviceKind.WEB_PUSH, **subscription["keys"])

    broken = cases.breaks(201, b"hello", b"no", cut=Delivered, bad_gateway=Unknown, out=Retry)
    return Speaker("web_push", make, to, cases.WEB_PUSH, broken)


def _webhook() -> Speaker:
    secrets = WebhookSecrets({}, Key.fresh())

    def make(_origin: str, timeout_s: float, egress: Egress) -> Webhook:
        return Webhook(Http(timeout_s=timeout_s, egress=egress), secrets)

    broken = cases.breaks(200, b"thanks", b"no", cut=Delivered, bad_gateway=Retry, out=Retry)

    def to(origin: str) -> Destination:
        return Destination("feed", f"{origin}/hook")

    return Speaker("webhook", make, to, cases.WEBHOOK, broken, played=False)
