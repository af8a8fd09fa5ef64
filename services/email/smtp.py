"""E-mail by SMTP, one mail to one recipient. How an attempt ends depends on how far it came:

| where it stopped               | answer          | outcome                                             |
| ------------------------------ | --------------- | --------------------------------------------------- |
| waiting for a free connection  |                 | Snooze: nothing was tried                           |
| connect, TLS, login, MAIL FROM | any, or none    | Retry: 5xx is about us there, not about the mail    |
| MAIL FROM                      | 552             | Discard: the mail is too large                      |
| RCPT TO                        | 4xx, or none    | Retry                                               |
| RCPT TO                        | 5xx             | Discard: no such mailbox, or it refuses us          |
| DATA, before the text is sent  | 4xx, or none    | Retry                                               |
| DATA, before the text is sent  | 5xx             | Discard                                             |
| after the final dot            | 250             | Delivered                                           |
| after the final dot            | 4xx             | Retry                                               |
| after the final dot            | 5xx             | Discard: the content is refused                     |
| after the final dot            | none, or no sense | Unknown: RFC 1047's duplicate                     |
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime

import aiosmtplib
from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from services.email.message import Letterhead, Mail, compose
from services.email.mime import render
from services.email.smtp_pool import SmtpPool

_DOT = re.compile(rb"(?m)^\.")


class Smtp:
    """A mail server. `timeout_s` bounds a whole attempt."""

    name = "smtp"

    def __init__(self, pool: SmtpPool, letterhead: Letterhead, timeout_s: float = 10.0) -> None:
        self._pool = pool
        self._letterhead = letterhead
        self._timeout_s = timeout_s

    async def send(self, attempt: Attempt) -> Outcome:
        """Hands the mail over."""
        mail = compose(attempt, self._letterhead)
        if isinstance(mail, Discard):
            return mail
        handover = _Handover(
            self._letterhead.address, mail, render(mail, self._letterhead, attempt.create_time)
        )
        try:
            async with asyncio.timeout(self._timeout_s), self._pool.room():
                await handover.run(self._pool)
        except SMTPResponseException as error:
            return refused(handover.stage, error.code)
        except (SMTPException, OSError, TimeoutError) as error:
            return broken(handover.stage, error)
        return Delivered(mail.message_id)

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        """None: a mail server does not tell what it took."""
        del attempt, since
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await self._pool.close()


class _Handover:
    """One mail on its way over one connection, with how far it came."""

    def __init__(self, sender: str, mail: Mail, content: bytes) -> None:
        self._sender = sender
        self._to = mail.to
        self._content = content
        self.stage = "WAIT"

    async def run(self, pool: SmtpPool) -> None:
        """Raises SMTPException, OSError and TimeoutError; `stage` then says where."""
        kept = pool.kept()
        if kept is None or not await self._open(kept):
            self.stage = "CONNECT"
            kept = await pool.fresh()
            await self._mail(kept)
        try:
            await self._recipient_and_content(kept)
        except SMTPResponseException:
            await self._clear(pool, kept)
            raise
        except BaseException:
            # A broken conversation, a time-out or a cancelled task: nobody knows what comes next on it.
            kept.close()
            raise
        pool.keep(kept)

    async def _open(self, client: SMTP) -> bool:
        """Begins the mail on a kept connection; False where the server has closed that meanwhile, which is
        no failure of this mail."""
        try:
            await self._mail(client)
        except SMTPResponseException as error:
            if error.code != 421:
                raise
        except SMTPException:
            pass
        else:
            return True
        client.close()
        return False

    async def _mail(self, client: SMTP) -> None:
        self.stage = "MAIL"
        try:
            await client.mail(self._sender)
        except BaseException:
            client.close()
            raise

    async def _recipient_and_content(self, client: SMTP) -> None:
        self.stage = "RCPT"
        await client.rcpt(self._to)
        self.stage = "DATA"
        # Not client.data(): that does not tell a connection lost before the text from one lost after it.
        ready = await client.execute_command(b"DATA")
        if ready.code != 354:
            raise aiosmtplib.SMTPDataError(ready.code, ready.message)
        if client.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("lost")
        self.stage = "END"
        client.protocol.write(_DOT.sub(b"..", self._content) + b".\r\n")
        answer = await client.protocol.read_response(client.timeout)
        if answer.code != 250:
            raise aiosmtplib.SMTPDataError(answer.code, answer.message)

    async def _clear(self, pool: SmtpPool, client: SMTP) -> None:
        """Keeps a connection whose server refused this mail."""
        try:
            await client.rset()
        except (SMTPException, OSError):
            client.close()
        else:
            pool.keep(client)


def refused(stage: str, code: int) -> Outcome:
    """What an answer other than the wanted one means; the table at the top."""
    error = f"{stage}_{code}"
    match stage, code // 100:
        case "MAIL", 5 if code == 552:
            return Discard("PAYLOAD_TOO_LARGE", error)
        case "CONNECT" | "MAIL", _:
            return Retry(error)
        case _, 4:
            return Retry(error)
        case "RCPT", 5:
            return Discard("ADDRESS_REFUSED", error)
        case _, 5:
            return Discard("MAIL_REFUSED", error)
        case "END", _:
            return Unknown(error)
        case _:
            return Retry(error)


def broken(stage: str, error: Exception) -> Outcome:
    """What it means that there was no answer."""
    word = "TIMEOUT" if isinstance(error, TimeoutError) else "CONNECTION_LOST"
    match stage:
        case "WAIT":
            return Snooze("ALL_CONNECTIONS_BUSY")
        case "END":
            return Unknown(word)
        case "CONNECT":
            return Retry("CONNECT_FAILED")
        case _:
            return Retry(f"{stage}_{word}")
