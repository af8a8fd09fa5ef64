"""SendGrid, against the sandbox: every row of the table in services/email/sendgrid/provider.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from crown.http import Answer, Http
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.rendering import Links
from services.email.message import Composer, Letterhead, Mail
from services.email.sendgrid.provider import SendGrid, outcome, request
from services.email.smtp.pool import SmtpPool
from services.email.smtp.provider import Smtp
from services.email.smtp.server import SmtpServer

Make = Callable[..., Attempt]
KEY = "SG.test.key"
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def provider(url: str, links: Links, key: str = KEY) -> SendGrid:
    letterhead = Letterhead("Crown", "notifications@crown.example", links)
    return SendGrid(Http(timeout_s=0.5), url, key, Composer(letterhead), clock=lambda: NOW)


@pytest.fixture
async def sendgrid(sandbox: Any, links: Links) -> AsyncIterator[SendGrid]:
    client = provider(sandbox.url, links)
    yield client
    await client.close()


async def test_a_mail_arrives(sendgrid: SendGrid, sandbox: Any, attempt: Make) -> None:
    found = await sendgrid.send(attempt("ann@example.org", title="Grüße"))
    (effect,) = await sandbox.effects()
    assert found == Delivered(effect["message_id"])
    assert (effect["recipient"], effect["title"]) == ("ann@example.org", "Grüße")
    assert (effect["notification_id"], effect["delivery_id"]) == ("n-1", "d" * 32)
    assert effect["text"].startswith("Crown\n\nGrüße\n\nYou have")


async def test_a_text_that_begins_like_an_api_key(sendgrid: SendGrid, attempt: Make) -> None:
    # The SDK takes it for a leaked key and raises.
    found = await sendgrid.send(attempt("ann@example.org", title="SG.Market.News", message="x"))
    assert isinstance(found, Delivered)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({"status": 200}, Unknown("200"), id="200: a dry run, not a mail taken"),
        pytest.param({"status": 200, "body": "<p>hello"}, Unknown("200"), id="200 with garbage"),
        pytest.param(
            {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, Retry("302"), id="redirect"
        ),
        pytest.param({"status": 400}, Discard("PROVIDER_REFUSED", "400"), id="400"),
        pytest.param({"status": 401}, Retry("401"), id="401"),
        pytest.param({"status": 403}, Retry("403"), id="403"),
        pytest.param({"status": 404}, Retry("404"), id="404"),
        pytest.param({"status": 408}, Retry("408"), id="408"),
        pytest.param({"status": 413}, Discard("PAYLOAD_TOO_LARGE", "413"), id="413"),
        pytest.param({"status": 422}, Discard("PROVIDER_REFUSED", "422"), id="another 4xx"),
        pytest.param({"status": 429}, Snooze("429", None), id="429"),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "3"}}, Snooze("429", 3.0), id="429 Retry-After"
        ),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT"}},
            Snooze("429", 30.0),
            id="429 with a date",
        ),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "abc"}}, Snooze("429", None), id="429 garbage"
        ),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "-5"}}, Snooze("429", None), id="429 negative"
        ),
        pytest.param(
            {"status": 429, "headers": {"X-RateLimit-Reset": str(int(NOW.timestamp()) + 9)}},
            Snooze("429", 9.0),
            id="429 X-RateLimit-Reset",
        ),
        pytest.param({"status": 500}, Unknown("500"), id="500"),
        pytest.param({"status": 503}, Unknown("503"), id="503"),
        pytest.param({"hang": True}, Unknown("TIMEOUT"), id="no answer"),
        pytest.param({"reset": "after"}, Unknown("CONNECTION_LOST"), id="reset after the body"),
    ],
)
async def test_what_sendgrid_does(
    sendgrid: SendGrid, sandbox: Any, attempt: Make, answer: dict[str, Any], expected: Outcome
) -> None:
    await sandbox.script(provider="sendgrid", answer=answer, times=1)
    assert await sendgrid.send(attempt("ann@example.org")) == expected


@pytest.mark.parametrize("tracking", [False, True])
async def test_opens_and_clicks_are_tracked_where_it_is_asked_for_only(
    attempt: Make, links: Links, tracking: bool
) -> None:
    letterhead = Letterhead("Crown", "notifications@crown.example", links)
    mail = await Composer(letterhead).compose(attempt("ann@example.org"))
    assert isinstance(mail, Mail)
    assert request(mail, letterhead, tracking)["tracking_settings"] == {
        "click_tracking": {"enable": tracking, "enable_text": False},
        "open_tracking": {"enable": tracking},
        "subscription_tracking": {"enable": False},
    }


async def test_the_same_message_id_at_every_provider(mailbox: Any, links: Links, attempt: Make) -> None:
    letterhead = Letterhead("Crown", "notifications@crown.example", links)
    smtp = Smtp(SmtpPool(SmtpServer("127.0.0.1", mailbox.smtp_port), "crown.example"), Composer(letterhead))
    found = []
    for number in (1, 2):
        given = attempt("ann@example.org", number=number)
        mail = await Composer(letterhead).compose(given)
        assert isinstance(mail, Mail)
        headers: Any = request(mail, letterhead, tracking=False)["headers"]
        found.append(headers["Message-ID"])
        await smtp.send(given)
    await smtp.close()
    found += [mail["headers"]["Message-ID"] for mail in await mailbox.mails()]
    assert found == [f"<{'d' * 32}@crown.example>"] * 4


async def test_a_wrong_key(sandbox: Any, links: Links, attempt: Make) -> None:
    client = provider(sandbox.url, links, "SG.another.key")
    assert await client.send(attempt("ann@example.org")) == Retry("401")
    await client.close()


async def test_nobody_listens(free_port: int, links: Links, attempt: Make) -> None:
    client = provider(f"http://127.0.0.1:{free_port}", links)
    assert await client.send(attempt("ann@example.org")) == Retry("CONNECT_FAILED")
    await client.close()


async def test_a_bad_address_never_reaches_sendgrid(sendgrid: SendGrid, sandbox: Any, attempt: Make) -> None:
    assert isinstance(await sendgrid.send(attempt("ann@example.org, eve@example.net")), Discard)
    assert await sandbox.effects() == []


async def test_nobody_can_tell_what_sendgrid_took(sendgrid: SendGrid, attempt: Make) -> None:
    given = attempt("ann@example.org")
    assert await sendgrid.find(given, NOW) is None


def test_202_without_an_id() -> None:
    assert outcome(Answer(202, {}, b""), NOW) == Delivered("")
