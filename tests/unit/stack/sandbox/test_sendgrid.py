"""SendGrid's rules, with the bodies that the real SDK builds and with those that it would never build."""

from __future__ import annotations

import copy
import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from sendgrid.helpers.mail import (
    Asm,
    Category,
    ClickTracking,
    CustomArg,
    Header,
    Mail,
    MailSettings,
    SandBoxMode,
    SendAt,
    To,
    TrackingSettings,
)

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox

GOOD: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "ann@example.org"}]}],
    "from": {"email": "crown@example.org"},
    "subject": "Hello",
    "content": [{"type": "text/plain", "value": "Hi Ann"}],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with the value at `a.0.b` set."""
    body = copy.deepcopy(GOOD)
    at: Any = body
    *steps, last = path.split(".")
    for step in steps:
        at = at[int(step)] if step.isdigit() else at[step]
    if isinstance(at, list):
        at.insert(int(last), value)
    else:
        at[last] = value
    return body


async def test_a_mail_of_the_sdk_is_accepted_and_recorded(sandbox: Sandbox) -> None:
    mail = Mail("crown@example.org", "ann@example.org", "Hello", "Hi Ann", "<p>Hi Ann</p>")
    mail.custom_arg = [CustomArg("notification_id", "n-1"), CustomArg("delivery_id", "d-1")]
    mail.header = Header("Message-ID", "<d-1@crown.example>")
    mail.category = Category("social")
    mail.asm = Asm(7, [7, 8])
    mail.send_at = SendAt(int(time.time()) + 60)
    mail.tracking_settings = TrackingSettings(click_tracking=ClickTracking(False, False))
    assert await sandbox.mail(mail.get()) == (202, None)
    [entry] = await sandbox.entries(notification_id="n-1")
    assert entry["provider"] == "sendgrid"
    assert entry["recipient"] == "ann@example.org"
    assert entry["delivery_id"] == "d-1"
    assert (entry["sender"], entry["title"], entry["text"]) == ("crown@example.org", "Hello", "Hi Ann")
    assert (entry["status"], entry["answer"]) == (202, None)


async def test_the_answer_names_the_message(sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {sandbox.sendgrid_key}"}
    url = sandbox.url + "/v3/mail/send"
    async with sandbox.http.post(url, json=GOOD, headers=headers) as response:
        message_id = response.headers["X-Message-Id"]
    [entry] = await sandbox.entries()
    assert entry["message_id"] == message_id


async def test_every_recipient_is_an_effect_of_its_own(sandbox: Sandbox) -> None:
    people = [To("ann@example.org"), To("bob@example.org")]
    mail = Mail("crown@example.org", people, "Hello", "Hi", is_multiple=True)
    await sandbox.mail(mail.get())
    assert {e["recipient"] for e in await sandbox.entries()} == {"ann@example.org", "bob@example.org"}


async def test_sandbox_mode_reaches_nobody(sandbox: Sandbox) -> None:
    mail = Mail("crown@example.org", "ann@example.org", "Hello", "Hi")
    mail.mail_settings = MailSettings(sandbox_mode=SandBoxMode(True))
    assert (await sandbox.mail(mail.get()))[0] == 200
    assert await sandbox.entries() == []
    assert [e["status"] for e in await sandbox.entries(kind="refusal")] == [200]


@pytest.mark.parametrize("header", ["Bearer SG.wrong", "SG.test.key", "Basic x", "Bearer \udcff"])
async def test_a_wrong_key_is_refused(sandbox: Sandbox, header: str) -> None:
    headers = {"Authorization": header}
    status, body = await sandbox.call("POST", "/v3/mail/send", json=GOOD, headers=headers)
    assert status == 401
    assert body == {"errors": [{"message": body["errors"][0]["message"], "field": None, "help": None}]}


async def test_no_key_is_refused(sandbox: Sandbox) -> None:
    assert (await sandbox.call("POST", "/v3/mail/send", json=GOOD))[0] == 401


BAD = {
    "unknown field": ("colour", "red", "colour"),
    "unknown field, deep": ("personalizations.0.to.0.phone", "1", "personalizations.0.to.0.phone"),
    "null": ("subject", None, "subject"),
    "number for text": ("subject", 5, "subject"),
    "text for object": ("from", "crown@example.org", "from"),
    "text for recipient": ("personalizations.0.to.0", "ann@example.org", "personalizations.0.to.0"),
    "nobody": ("personalizations", [], "personalizations"),
    "nobody in to": ("personalizations.0.to", [], "personalizations.0.to"),
    "no at sign": ("personalizations.0.to.0.email", "ann", "personalizations.0.to.0.email"),
    "two addresses": ("personalizations.0.to.0.email", "a@b.co,c@d.co", "personalizations.0.to.0.email"),
    "line break": ("personalizations.0.to.0.email", "a@b.co\r\nBcc: c@d.co", "personalizations.0.to.0.email"),
    "trailing newline": ("personalizations.0.to.0.email", "a@b.co\n", "personalizations.0.to.0.email"),
    "dots": ("from.email", "a..b@c.co", "from.email"),
    "name over lines": ("from.name", "Ann\r\nBcc: x@y.co", "from.name"),
    "same person twice": ("personalizations.0.cc", [{"email": "Ann@example.org"}], "personalizations.0"),
    "empty subject": ("subject", "", "subject"),
    "subject over lines": ("subject", "a\nBcc: x@y.co", "subject"),
    "empty content": ("content.0.value", "", "content.0.value"),
    "no content": ("content", [], "content"),
    "html first": ("content.0", {"type": "text/html", "value": "<p>"}, "content"),
    "reserved header": ("headers", {"Subject": "x"}, "headers.Subject"),
    "header over lines": ("headers", {"X-A": "a\r\nBcc: x@y.co"}, "headers"),
    "header not text": ("headers", {"X-A": 5}, "headers"),
    "argument not text": ("custom_args", {"n": 5}, "custom_args"),
    "arguments too big": ("custom_args", {"n": "x" * 10_001}, "personalizations.0.custom_args"),
    "too late": ("send_at", 2**40, "send_at"),
    "too many categories": ("categories", list("abcdefghijk"), "categories"),
    "category twice": ("categories", ["a", "a"], "categories"),
    "attachment not base64": ("attachments", [{"content": "%", "filename": "f"}], "attachments.0.content"),
    "bad address to reply to": ("reply_to_list", [{"email": "no"}], "reply_to_list.0.email"),
    "too many people": (
        "personalizations",
        [{"to": [{"email": f"a{n}@b.co"}]} for n in range(1_001)],
        "personalizations",
    ),
}


@pytest.mark.parametrize(("path", "value", "field"), BAD.values(), ids=BAD.keys())
async def test_a_bad_body_is_refused_by_field(sandbox: Sandbox, path: str, value: Any, field: str) -> None:
    status, body = await sandbox.mail(changed(path, value))
    assert status == 400
    [error] = body["errors"]
    assert set(error) == {"message", "field", "help"}
    assert error["field"] == field
    assert error["help"].startswith("http")
    [entry] = await sandbox.entries(kind="refusal")
    assert (entry["status"], entry["answer"]) == (400, body)
    assert await sandbox.entries() == []


async def test_two_ways_to_reply_are_refused(sandbox: Sandbox) -> None:
    person = {"email": "crown@example.org"}
    status, body = await sandbox.mail({**GOOD, "reply_to": person, "reply_to_list": [person]})
    assert (status, body["errors"][0]["field"]) == (400, "reply_to_list")


async def test_a_missing_field_is_named(sandbox: Sandbox) -> None:
    body = {name: value for name, value in GOOD.items() if name != "from"}
    assert (await sandbox.mail(body))[1]["errors"][0]["field"] == "from"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        pytest.param(b"{", "application/json", 400, id="cut off"),
        pytest.param(b"\xff", "application/json", 400, id="not UTF-8"),
        pytest.param(b"[" * 100_000, "application/json", 400, id="deep"),
        pytest.param(b"", "application/json", 400, id="empty"),
        pytest.param(b"{}", "text/plain", 415, id="not JSON"),
        pytest.param(b" " * (30 * 1024 * 1024 + 1), "application/json", 413, id="too large"),
    ],
)
async def test_a_body_that_is_no_mail_is_refused(
    sandbox: Sandbox, body: bytes, kind: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {sandbox.sendgrid_key}", "Content-Type": kind}
    answer = await sandbox.call("POST", "/v3/mail/send", data=io.BytesIO(body), headers=headers)
    assert answer[0] == status
    assert set(answer[1]) == {"errors"}
    assert len(await sandbox.entries(kind="refusal")) == 1
