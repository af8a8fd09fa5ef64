"""SMTP, against the mailbox: every row of the table in services/email/smtp/provider.py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from crown import lease
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.rendering import Links
from services.email.message import Composer, Letterhead
from services.email.smtp import pool as smtp_pool
from services.email.smtp.pool import SmtpPool
from services.email.smtp.provider import Gone, Smtp, broken, refused
from services.email.smtp.server import SmtpServer
from stack.mailbox.smtp import Porter

Make = Callable[..., Attempt]
ID = f"<{'d' * 32}@crown.example>"


def provider(
    server: SmtpServer,
    links: Links,
    timeout_s: float = 5.0,
    connections: int = 2,
    suppress: Gone | None = None,
    step_s: float = 5.0,
) -> Smtp:
    letterhead = Letterhead("Crown", "notifications@crown.example", links)
    pool = SmtpPool(server, letterhead.domain, connections, step_s)
    return Smtp(pool, Composer(letterhead), timeout_s, suppress)


@pytest.fixture(params=[True, False], ids=["pipelining", "one by one"])
async def mailbox(request: pytest.FixtureRequest, opened_mailbox: Any) -> AsyncIterator[Any]:
    """A server that takes several commands at once, and one that does not."""
    async with opened_mailbox(pipelining=request.param) as found:
        yield found


@pytest.fixture
async def smtp(mailbox: Any, links: Links) -> AsyncIterator[Smtp]:
    client = provider(SmtpServer("127.0.0.1", mailbox.smtp_port), links)
    yield client
    await client.close()


async def test_a_mail_arrives(smtp: Smtp, mailbox: Any, attempt: Make) -> None:
    assert await smtp.send(attempt("ann@example.org", title="Grüße", message=".\nline")) == Delivered(ID)
    (mail,) = await mailbox.mails()
    assert mail["to"] == ["ann@example.org"]
    assert mail["sender"] == "notifications@crown.example"
    assert mail["subject"] == "Grüße"
    assert mail["text"].startswith("Crown\n\nGrüße\n\n.\nline\n")
    assert "https://crown.example/m/1" in mail["html"]
    assert (mail["notification_id"], mail["delivery_id"]) == ("n-1", "d" * 32)
    assert mail["headers"]["Message-ID"] == ID


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param({"command": "MAIL", "reply": "451 4.3.0 later"}, Retry("MAIL_451"), id="MAIL 4xx"),
        pytest.param(
            {"command": "MAIL", "reply": "550 5.7.1 you"}, Retry("MAIL_550"), id="MAIL 5xx: about us"
        ),
        pytest.param(
            {"command": "MAIL", "reply": "552 5.3.4 big"},
            Discard("PAYLOAD_TOO_LARGE", "MAIL_552"),
            id="MAIL 552: about the mail",
        ),
        pytest.param({"command": "MAIL", "drop": True}, Retry("MAIL_CONNECTION_LOST"), id="MAIL lost"),
        pytest.param({"command": "RCPT", "reply": "451 4.3.0 busy"}, Retry("RCPT_451"), id="RCPT 4xx"),
        pytest.param({"command": "RCPT", "reply": "450 4.7.1 slower"}, Retry("RCPT_450"), id="RCPT: policy"),
        pytest.param(
            {"command": "RCPT", "reply": "450 4.2.1 busy"},
            Retry("RCPT_450", alone=True),
            id="RCPT: the mailbox",
        ),
        pytest.param(
            {"command": "RCPT", "reply": "450 busy"},
            Retry("RCPT_450", alone=True),
            id="RCPT 450 without more",
        ),
        pytest.param({"command": "RCPT", "reply": "421 4.3.2 bye"}, Retry("RCPT_421"), id="RCPT 421"),
        pytest.param(
            {"command": "RCPT", "reply": "550 5.1.1 nobody"},
            Discard("ADDRESS_REFUSED", "RCPT_550"),
            id="RCPT 5xx",
        ),
        pytest.param({"command": "RCPT", "drop": True}, Retry("RCPT_CONNECTION_LOST"), id="RCPT lost"),
        pytest.param({"command": "DATA", "reply": "451 4.3.0 later"}, Retry("END_451"), id="final dot 4xx"),
        pytest.param({"command": "DATA", "reply": "452 4.3.1 full"}, Retry("END_452"), id="final dot 452"),
        pytest.param(
            {"command": "DATA", "reply": "554 5.7.1 spam"},
            Discard("MAIL_REFUSED", "END_554"),
            id="final dot 5xx",
        ),
        pytest.param(
            {"command": "DATA", "drop": True}, Unknown("CONNECTION_LOST"), id="lost after the final dot"
        ),
    ],
)
async def test_what_the_server_does(
    smtp: Smtp, mailbox: Any, attempt: Make, order: dict[str, Any], expected: Outcome
) -> None:
    await mailbox.script(**order, times=1)
    assert await smtp.send(attempt("ann@example.org")) == expected
    # …and the next mail goes out, over the same connection or another.
    assert await smtp.send(attempt("ann@example.org")) == Delivered(ID)


@pytest.mark.parametrize(
    ("command", "expected"),
    [("RCPT", Retry("RCPT_TIMEOUT")), ("DATA", Unknown("TIMEOUT"))],
    ids=["before the text", "after the final dot"],
)
async def test_no_answer(mailbox: Any, links: Links, attempt: Make, command: str, expected: Outcome) -> None:
    client = provider(SmtpServer("127.0.0.1", mailbox.smtp_port), links, timeout_s=0.3)
    await mailbox.script(command=command, delay_s=5, times=1)
    assert await client.send(attempt("ann@example.org")) == expected
    assert await client.send(attempt("ann@example.org")) == Delivered(ID)
    await client.close()


@pytest.mark.parametrize(
    ("order", "suppressed"),
    [
        pytest.param({"command": "RCPT", "reply": "550 5.1.1 no such user"}, True, id="no such mailbox"),
        pytest.param({"command": "RCPT", "reply": "550 5.1.2 no such host"}, True, id="no such domain"),
        pytest.param({"command": "RCPT", "reply": "551 5.1.6 has moved"}, True, id="moved"),
        pytest.param({"command": "RCPT", "reply": "556 5.1.10 null MX"}, True, id="a domain without mail"),
        pytest.param({"command": "RCPT", "reply": "550 no such user"}, False, id="550 without more"),
        pytest.param({"command": "RCPT", "reply": "553 not here"}, False, id="553 without more"),
        pytest.param({"command": "RCPT", "reply": "550 5.7.1 we do not like you"}, False, id="policy"),
        pytest.param({"command": "RCPT", "reply": "554 5.7.26 unauthenticated"}, False, id="no SPF, no DKIM"),
        pytest.param({"command": "RCPT", "reply": "552 5.2.2 mailbox full"}, False, id="full"),
        pytest.param({"command": "RCPT", "reply": "550 5.2.1 disabled"}, False, id="disabled"),
        pytest.param({"command": "RCPT", "reply": "550 5.1.8 your domain"}, False, id="the sender's domain"),
        pytest.param({"command": "RCPT", "reply": "550 5.1.11 x"}, False, id="a longer number"),
        pytest.param({"command": "RCPT", "reply": "450 4.1.1 not now"}, False, id="for now"),
        pytest.param({"command": "MAIL", "reply": "550 5.1.1 you"}, False, id="at MAIL FROM"),
        pytest.param({"command": "DATA", "reply": "550 5.1.1 late"}, False, id="after the text"),
    ],
)
async def test_an_address_that_does_not_exist_is_suppressed(
    mailbox: Any, links: Links, attempt: Make, order: dict[str, Any], suppressed: bool
) -> None:
    told: list[str] = []

    async def suppress(address: str) -> None:
        told.append(address)

    client = provider(SmtpServer("127.0.0.1", mailbox.smtp_port), links, suppress=suppress)
    await mailbox.script(**order, times=1)
    assert not isinstance(await client.send(attempt("Ann@Example.org")), Delivered)
    assert told == (["Ann@example.org"] if suppressed else [])
    await client.close()


async def test_a_suppression_that_cannot_be_kept_changes_nothing_else(
    mailbox: Any, links: Links, attempt: Make
) -> None:
    async def suppress(_address: str) -> None:
        raise AutoReconnect("away")

    client = provider(SmtpServer("127.0.0.1", mailbox.smtp_port), links, suppress=suppress)
    await mailbox.script(command="RCPT", reply="550 5.1.1 nobody", times=1)
    assert await client.send(attempt("ann@example.org")) == Discard("ADDRESS_REFUSED", "RCPT_550")
    await client.close()


async def test_the_name_of_the_server_leads_nowhere(links: Links, attempt: Make) -> None:
    client = provider(SmtpServer("mail.nowhere.invalid", 25), links)
    assert await client.send(attempt("ann@example.org")) == Retry("CONNECT_FAILED")


async def test_a_connection_ends_after_so_many_mails(
    smtp: Smtp, mailbox: Any, attempt: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_pool, "MAILS_MOST", 2)
    kept = []
    for n in range(5):
        await smtp.send(attempt("ann@example.org", delivery_id=f"{n}" * 32))
        kept.append(len(smtp._pool._idle))
    assert kept == [1, 0, 1, 0, 1]
    assert len(await mailbox.mails()) == 5


async def test_nobody_listens(free_port: int, links: Links, attempt: Make) -> None:
    client = provider(SmtpServer("127.0.0.1", free_port), links)
    assert await client.send(attempt("ann@example.org")) == Retry("CONNECT_FAILED")


async def test_where_the_lease_is_over_no_text_is_sent(smtp: Smtp, mailbox: Any, attempt: Make) -> None:
    for _ in range(2):
        with lease.until(lease.clock() - 0.001):
            assert await smtp.send(attempt("ann@example.org")) == lease.OVER
        assert await mailbox.mails() == []
    assert await smtp.send(attempt("ann@example.org")) == Delivered(ID)


@pytest.mark.parametrize(("attempt_s", "step_s"), [(0.5, 5.0), (5.0, 0.5)], ids=["attempt", "step"])
async def test_an_answer_that_came_while_the_process_was_stopped_counts(
    mailbox: Any, links: Links, attempt: Make, attempt_s: float, step_s: float
) -> None:
    client = provider(SmtpServer("127.0.0.1", mailbox.smtp_port), links, attempt_s, step_s=step_s)
    await mailbox.script(command="DATA", delay_s=0.3, times=1)
    asyncio.get_running_loop().call_later(0.2, time.sleep, 0.8)
    assert await client.send(attempt("ann@example.org")) == Delivered(ID)
    await client.close()


async def test_all_connections_are_busy(mailbox: Any, links: Links, attempt: Make) -> None:
    client = provider(SmtpServer("127.0.0.1", mailbox.smtp_port), links, timeout_s=0.4, connections=1)
    await mailbox.script(command="DATA", delay_s=5, times=1)
    first = asyncio.create_task(client.send(attempt("ann@example.org")))
    await asyncio.sleep(0.1)
    impatient = Smtp(client._pool, client._composer, timeout_s=0.1)
    assert await impatient.send(attempt("ann@example.org")) == Snooze("ALL_CONNECTIONS_BUSY", alone=True)
    assert await first == Unknown("TIMEOUT")
    await client.close()


async def test_a_kept_connection_that_the_server_closed_is_no_failure(
    smtp: Smtp, mailbox: Any, attempt: Make
) -> None:
    assert await smtp.send(attempt("ann@example.org")) == Delivered(ID)
    await mailbox.script(command="MAIL", drop=True, times=1)
    assert await smtp.send(attempt("ann@example.org")) == Delivered(ID)
    await mailbox.script(command="MAIL", reply="421 4.4.2 idle", times=1)
    assert await smtp.send(attempt("ann@example.org")) == Delivered(ID)


async def test_connections_are_kept(smtp: Smtp, mailbox: Any, attempt: Make) -> None:
    for n in range(5):
        await smtp.send(attempt("ann@example.org", delivery_id=f"{n}" * 32))
    assert len(smtp._pool._idle) == 1
    await asyncio.gather(*(smtp.send(attempt("ann@example.org", delivery_id=f"{n}" * 32)) for n in range(9)))
    assert len(smtp._pool._idle) == 2
    assert len({mail["delivery_id"] for mail in await mailbox.mails()}) == 9


async def test_login(mailbox_with_login: Any, links: Links, attempt: Make) -> None:
    async with mailbox_with_login("crown", "secret") as mailbox:
        server = SmtpServer("127.0.0.1", mailbox.smtp_port, user="crown", password="secret")
        good = provider(server, links)
        assert await good.send(attempt("ann@example.org")) == Delivered(ID)
        await good.close()
        wrong = provider(replace(server, password="other"), links)
        # The configuration is wrong, not the mail.
        assert await wrong.send(attempt("ann@example.org")) == Retry("CONNECT_535")
        without = provider(SmtpServer("127.0.0.1", mailbox.smtp_port), links)
        assert await without.send(attempt("ann@example.org")) == Retry("MAIL_530")
        await without.close()


async def test_a_bad_address_never_reaches_the_server(smtp: Smtp, mailbox: Any, attempt: Make) -> None:
    assert isinstance(await smtp.send(attempt("ann@example.org, eve@example.net")), Discard)
    assert await mailbox.mails() == []


async def test_nobody_can_tell_what_a_mail_server_took(smtp: Smtp, attempt: Make) -> None:
    given = attempt("ann@example.org")
    assert await smtp.find(given, given.create_time) is None


@pytest.mark.parametrize(
    ("stage", "code", "expected"),
    [
        ("CONNECT", 554, Retry("CONNECT_554")),
        ("CONNECT", 421, Retry("CONNECT_421")),
        ("DATA", 451, Retry("DATA_451")),
        ("DATA", 554, Discard("MAIL_REFUSED", "DATA_554")),
        ("DATA", 250, Retry("DATA_250")),
        ("RCPT", -1, Retry("RCPT_-1")),
        ("END", -1, Unknown("END_-1")),
        ("END", 354, Unknown("END_354")),
    ],
)
def test_refused(stage: str, code: int, expected: Outcome) -> None:
    assert refused(stage, code) == expected


@pytest.mark.parametrize(
    ("stage", "error", "expected"),
    [
        ("CONNECT", TimeoutError(), Retry("CONNECT_FAILED")),
        ("CONNECT", OSError(), Retry("CONNECT_FAILED")),
        ("DATA", ConnectionResetError(), Retry("DATA_CONNECTION_LOST")),
        ("END", ConnectionResetError(), Unknown("CONNECTION_LOST")),
    ],
)
def test_broken(stage: str, error: Exception, expected: Outcome) -> None:
    assert broken(stage, error) == expected


# -- fields that would be commands

BREAKS = ("\r\n", "\n", "\r", "\0", "\u2028", "\x85", "\r\n.\r\n")
COMMANDS = ("RCPT TO:<eve@evil.example>", "Bcc: eve@evil.example", "MAIL FROM:<eve@evil.example>")
HOSTILE = [f"Hello{end}{command}{end}" for end in BREAKS for command in COMMANDS]


async def test_one_mail_has_one_recipient_whatever_it_says(
    smtp: Smtp, mailbox: Any, attempt: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server heard counts: one RCPT for each mail, to whom it was meant for."""
    heard: list[str] = []

    async def hear(self: Porter, server: Any, session: Any, envelope: Any, address: str, options: Any) -> Any:
        heard.append(address)
        return await handle(self, server, session, envelope, address, options)

    handle = Porter.handle_RCPT
    monkeypatch.setattr(Porter, "handle_RCPT", hear)
    delivered = 0
    for text in HOSTILE:
        for made in (attempt("ann@example.org", message=text), attempt("ann@example.org", title=text)):
            found = await smtp.send(replace(made, kind=text, collapse_key=text, locale=text))
            # A title with a line break is none.
            assert isinstance(found, Delivered) or found == Discard("INVALID_CONTENT", "header.break")
            delivered += isinstance(found, Delivered)
    assert delivered >= len(HOSTILE)
    assert heard == ["ann@example.org"] * delivered
    mails = await mailbox.mails()
    assert {mail["sender"] for mail in mails} == {"notifications@crown.example"}
    assert not any({"bcc", "cc"} & {name.lower() for name in mail["headers"]} for mail in mails)


@pytest.mark.parametrize("address", [f"ann@example.org{end}{line}" for end in BREAKS for line in COMMANDS])
async def test_an_address_that_would_be_a_command_is_no_address(
    smtp: Smtp, mailbox: Any, attempt: Make, address: str
) -> None:
    found = await smtp.send(attempt(address))
    assert not isinstance(found, Delivered)
    assert await mailbox.mails() == []
