"""Scripted SMTP: what the sender sees, and whether the mail was kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import aiosmtplib
import pytest

if TYPE_CHECKING:
    from tests.unit.stack.mailbox.conftest import Post


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("MAIL", aiosmtplib.SMTPSenderRefused),
        ("RCPT", aiosmtplib.SMTPRecipientsRefused),
        ("DATA", aiosmtplib.SMTPDataError),
    ],
)
async def test_a_reply_is_given_as_often_as_told(post: Post, command: str, error: type[Exception]) -> None:
    await post.script(command=command, reply="451 4.3.0 come back later", times=2)
    for _ in range(2):
        with pytest.raises(error, match="come back later"):
            await post.send()
    assert await post.kept() == []
    await post.send()
    assert len(await post.kept()) == 1


async def test_only_the_named_recipient_is_refused(post: Post) -> None:
    await post.script(command="RCPT", reply="550 5.1.1 no such user", match={"recipient": "Eve@example.org"})
    await post.send("ann@example.org")
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refusal:
        await post.send("eve@example.org")
    assert refusal.value.recipients[0].code == 550
    await post.script(clear=True)
    await post.send("eve@example.org")


async def test_a_drop_after_the_final_dot_leaves_the_mail(post: Post) -> None:
    await post.script(command="DATA", drop=True, times=1, match={"recipient": "ann@example.org"})
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await post.send("ann@example.org")
    assert len(await post.kept(to="ann@example.org")) == 1
    await post.send("ann@example.org")


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
async def test_a_drop_before_leaves_none(post: Post, command: str) -> None:
    await post.script(command=command, drop=True, times=1)
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await post.send()
    assert await post.kept() == []


async def test_421_ends_the_connection(post: Post) -> None:
    await post.script(command="MAIL", reply="421 4.3.2 closing", times=1)
    async with post.client() as client:
        with pytest.raises(aiosmtplib.SMTPResponseException) as refusal:
            await client.mail("crown@example.org")
        assert refusal.value.code == 421
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await client.noop()


async def test_a_late_reply_finds_the_mail_kept(post: Post) -> None:
    await post.script(command="DATA", delay_s=0.5, times=1)
    client = post.client()
    await client.connect()
    started = time.monotonic()
    with pytest.raises(aiosmtplib.SMTPReadTimeoutError):
        await client.sendmail("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\nx", timeout=0.1)
    client.close()
    assert time.monotonic() - started < 0.5
    assert len(await post.kept()) == 1


async def test_an_accepting_reply_of_ones_own(post: Post) -> None:
    await post.script(command="DATA", reply="250 2.0.0 queued as ABC", times=1)
    assert "queued as ABC" in await post.send()
    assert len(await post.kept()) == 1


async def test_what_is_queued_can_be_read_and_cleared_by_command(post: Post) -> None:
    await post.script(command="MAIL", delay_s=0.001)
    await post.script(command="DATA", reply="451 4.3.0 later", times=3)
    _, body = await post.call("GET", "/script")
    assert [(order["command"], order["times"]) for order in body["scripts"]] == [("MAIL", None), ("DATA", 3)]
    await post.script(command="DATA", clear=True)
    await post.send()


BAD: dict[str, tuple[Any, str]] = {
    "no command": ({"reply": "451 x"}, "command"),
    "unknown command": ({"command": "EHLO", "reply": "451 x"}, "command"),
    "no act": ({"command": "DATA"}, "reply"),
    "no code": ({"command": "DATA", "reply": "later"}, "reply"),
    "reply over lines": ({"command": "DATA", "reply": "451 x\r\n250 y"}, "reply"),
    "354 is no answer": ({"command": "DATA", "reply": "354 go on"}, "reply"),
    "reply and drop": ({"command": "DATA", "reply": "451 x", "drop": True}, "drop"),
    "recipient at MAIL": ({"command": "MAIL", "drop": True, "match": {"recipient": "a"}}, "match.recipient"),
    "no times": ({"command": "DATA", "drop": True, "times": 0}, "times"),
    "long delay": ({"command": "DATA", "delay_s": 301}, "delay_s"),
    "clear and act": ({"command": "DATA", "drop": True, "clear": True}, "clear"),
    "unknown field": ({"command": "DATA", "drop": True, "colour": 1}, "colour"),
}


@pytest.mark.parametrize(("order", "field"), BAD.values(), ids=BAD.keys())
async def test_a_bad_script_is_refused_by_field(post: Post, order: Any, field: str) -> None:
    status, body = await post.call("POST", "/script", json=order)
    assert (status, body["field"]) == (400, field)
