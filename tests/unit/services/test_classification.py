"""Every provider's table, case by case on the wire: expected against observed. `pytest -s` shows the matrix.

An owner of another provider adds a list of cases, and who to send them through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crown.http import Http
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt, Provider
from crown.rendering import Links
from services.email.message import Composer, Letterhead
from services.email.sendgrid import SendGrid
from services.email.smtp import Smtp
from services.email.smtp_pool import SmtpPool
from services.email.smtp_server import SmtpServer
from services.push.access_token import AccessToken
from services.push.fcm import Fcm
from services.push.push import Push
from services.sms.numbers import Numbers
from services.sms.text import Texts
from services.sms.twilio import Twilio
from tests.unit.services.matrix import Matrix

Case = tuple[str, Mapping[str, Any], type[Outcome]]
Make = Callable[..., Attempt]
TIMEOUT_S = 0.3
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"

# What is the same for whoever speaks HTTP.
HTTP: Sequence[Case] = (
    ("taken", {"delay_s": 0.0}, Delivered),
    ("taken late", {"delay_s": 0.05}, Delivered),
    ("429", {"status": 429}, Snooze),
    ("429, Retry-After in seconds", {"status": 429, "headers": {"Retry-After": "3"}}, Snooze),
    ("429, Retry-After garbled", {"status": 429, "headers": {"Retry-After": "soon"}}, Snooze),
    ("redirect", {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, Retry),
    ("our key is wrong", {"status": 401}, Retry),
    ("not ours to use", {"status": 403, "body": "no"}, Retry),
    ("no such address of theirs", {"status": 404, "body": "not here"}, Retry),
    ("408", {"status": 408}, Retry),
    ("bad request", {"status": 400, "body": "no"}, Discard),
    ("422", {"status": 422, "body": "no"}, Discard),
    ("502", {"status": 502, "body": "bad gateway"}, Unknown),
    ("504", {"status": 504}, Unknown),
    ("200 with garbage", {"status": 200, "body": "<p>hello"}, Unknown),
    ("never answers", {"hang": True}, Unknown),
    ("answers too late", {"delay_s": 1.0}, Unknown),
    ("reset, nothing taken", {"reset": "before"}, Unknown),
    ("reset, taken", {"reset": "after"}, Unknown),
)
SENDGRID: Sequence[Case] = (
    *HTTP,
    ("too large", {"status": 413}, Discard),
    ("500", {"status": 500}, Unknown),
    ("503", {"status": 503}, Unknown),
)
TWILIO: Sequence[Case] = (
    *HTTP,
    ("invalid number", {"status": 400, "body": {"code": 21211}}, Discard),
    ("opted out", {"status": 400, "body": {"code": 21610}}, Discard),
    ("landline", {"status": 400, "body": {"code": 21614}}, Discard),
    ("our sender is wrong", {"status": 400, "body": {"code": 21606}}, Retry),
    ("a 404 of the account", {"status": 404, "body": {"code": 20404}}, Retry),
    ("500", {"status": 500}, Unknown),
    ("503", {"status": 503}, Unknown),
)


def _fcm(status: int, word: str) -> Mapping[str, Any]:
    details = [{"@type": FCM_ERROR, "errorCode": word}]
    return {"status": status, "body": {"error": {"status": word, "details": details}}}


FCM: Sequence[Case] = (
    *HTTP,
    ("unregistered", _fcm(404, "UNREGISTERED"), Discard),
    ("of another project", _fcm(403, "SENDER_ID_MISMATCH"), Discard),
    ("quota", _fcm(429, "QUOTA_EXCEEDED"), Snooze),
    ("unavailable", _fcm(503, "UNAVAILABLE"), Retry),
    ("internal", _fcm(500, "INTERNAL"), Retry),
    ("their key for APNs", _fcm(401, "THIRD_PARTY_AUTH_ERROR"), Retry),
    ("invalid argument", _fcm(400, "INVALID_ARGUMENT"), Discard),
)
SMTP: Sequence[Case] = (
    ("taken", {}, Delivered),
    ("MAIL: later", {"command": "MAIL", "reply": "451 4.3.0 later"}, Retry),
    ("MAIL: we are not wanted", {"command": "MAIL", "reply": "550 5.7.1 you"}, Retry),
    ("MAIL: too large", {"command": "MAIL", "reply": "552 5.3.4 big"}, Discard),
    ("MAIL: lost", {"command": "MAIL", "drop": True}, Retry),
    ("RCPT: busy", {"command": "RCPT", "reply": "450 4.2.1 busy"}, Retry),
    ("RCPT: 421", {"command": "RCPT", "reply": "421 4.3.2 bye"}, Retry),
    ("RCPT: nobody", {"command": "RCPT", "reply": "550 5.1.1 nobody"}, Discard),
    ("RCPT: lost", {"command": "RCPT", "drop": True}, Retry),
    ("RCPT: no answer", {"command": "RCPT", "delay_s": 5.0}, Retry),
    ("dot: later", {"command": "DATA", "reply": "451 4.3.0 later"}, Retry),
    ("dot: full", {"command": "DATA", "reply": "452 4.3.1 full"}, Retry),
    ("dot: refused", {"command": "DATA", "reply": "554 5.7.1 spam"}, Discard),
    ("dot: lost", {"command": "DATA", "drop": True}, Unknown),
    ("dot: no answer", {"command": "DATA", "delay_s": 5.0}, Unknown),
)
# Where there is nobody: surely not sent.
NOWHERE = {"nobody listens": "http://127.0.0.1:1", "no such host": "http://nowhere.invalid"}


@pytest.fixture
def links() -> Links:
    return Links("https://crown.example", ("crown.example",))


async def none(_user_id: str) -> int:
    return 0


async def forget(_device_ids: object) -> None:
    return


def sendgrid(url: str, links: Links) -> SendGrid:
    composer = Composer(Letterhead("Crown", "notifications@crown.example", links))
    return SendGrid(Http(timeout_s=TIMEOUT_S), url, "SG.test.key", composer)


def twilio(url: str, links: Links) -> Twilio:
    account, numbers = (f"AC{'0' * 32}", "twilio-token"), Numbers((), {}, "+15005550006")
    return Twilio(Http(timeout_s=TIMEOUT_S), url, account, numbers, Texts(links))


def fcm(url: str, links: Links, account: dict[str, Any]) -> Push:
    made = Fcm(Http(timeout_s=TIMEOUT_S), url, account["project_id"], AccessToken(account))
    return Push("fcm", made, None, links, none, forget)


@asynccontextmanager
async def closing(provider: Provider) -> AsyncIterator[Provider]:
    yield provider
    await provider.close()


async def test_what_is_made_of_each_answer(sandbox: Any, mailbox: Any, links: Links, attempt: Make) -> None:
    matrix = Matrix()
    tables: Mapping[str, tuple[Callable[[str], Provider], Sequence[Case], str]] = {
        "sendgrid": (lambda url: sendgrid(url, links), SENDGRID, "ann@example.org"),
        "twilio": (lambda url: twilio(url, links), TWILIO, "+14155550123"),
        "fcm": (lambda url: fcm(url, links, sandbox.account), FCM, "token-1"),
    }
    for name, (make, cases, to) in tables.items():
        async with closing(make(sandbox.url)) as provider:
            for case, answer, expected in cases:
                await sandbox.script(provider=name, clear=True)
                await sandbox.script(provider=name, answer=dict(answer), times=1)
                matrix.add(name, case, expected, await provider.send(attempt(to)))
        for case, url in NOWHERE.items():
            async with closing(make(url)) as provider:
                matrix.add(name, case, Retry, await provider.send(attempt(to)))
    composer = Composer(Letterhead("Crown", "notifications@crown.example", links))
    for case, order, expected in SMTP:
        pool = SmtpPool(SmtpServer("127.0.0.1", mailbox.smtp_port), "crown.example", 2)
        async with closing(Smtp(pool, composer, TIMEOUT_S)) as provider:
            if order:
                await mailbox.script(**order, times=1)
            matrix.add("smtp", case, expected, await provider.send(attempt("ann@example.org")))
    nobody = SmtpPool(SmtpServer("127.0.0.1", 1), "crown.example", 2)
    async with closing(Smtp(nobody, composer, TIMEOUT_S)) as provider:
        matrix.add("smtp", "nobody listens", Retry, await provider.send(attempt("ann@example.org")))
    matrix.check()


def test_a_matrix_that_is_not_diagonal_fails() -> None:
    matrix = Matrix()
    matrix.add("acme", "fine", Delivered, Delivered("m"))
    matrix.check()
    matrix.add("acme", "lost", Unknown, Retry("E"))
    with pytest.raises(AssertionError, match="acme, lost: Unknown was taken for Retry"):
        matrix.check()
