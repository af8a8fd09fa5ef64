"""E-mail by SMTP, one mail to one recipient. How an attempt ends depends on how far it came:

| where it stopped               | answer          | outcome                                             |
| ------------------------------ | --------------- | --------------------------------------------------- |
| waiting for a free connection  |                 | Snooze, alone: nothing was tried                    |
| before the text, the lease over |                | Snooze, alone: nothing was sent                     |
| connect, TLS, login, MAIL FROM | any, or none    | Retry: 5xx is about us there, not about the mail    |
| MAIL FROM                      | 552             | Discard: the mail is too large                      |
| RCPT TO                        | 4xx, or none    | Retry; alone, where it is about the mailbox         |
| RCPT TO                        | 5xx             | Discard: no such mailbox, or it refuses us          |
| DATA, before the text is sent  | 4xx, or none    | Retry                                               |
| DATA, before the text is sent  | 5xx             | Discard                                             |
| after the final dot            | 250             | Delivered                                           |
| after the final dot            | 4xx             | Retry                                               |
| after the final dot            | 5xx             | Discard: the content is refused                     |
| after the final dot            | none, or no sense | Unknown: RFC 1047's duplicate                     |

Where RCPT TO is refused with an enhanced code that says that the mailbox or its domain is not there, the address is
suppressed. A server that offers PIPELINING gets MAIL FROM, RCPT TO and DATA in one go.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime

from aiosmtplib import SMTPException, SMTPResponseException
from pymongo.errors import PyMongoError

from crown import lease, logs, time_limit
from crown.lease import LeaseOver
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from services.email.message import Composer, Mail
from services.email.mime import render
from services.email.smtp.pool import SmtpPool
from services.email.smtp.wire import Answer, Wire

log = logs.get(__name__)

_DOT = re.compile(rb"(?m)^\.")
_ENHANCED = re.compile(r"([245])\.((\d{1,3})\.\d{1,3})\b")
# No such mailbox, no such domain, moved without a word, a domain that takes no mail. Not: a mailbox that is full,
# what a policy forbids, and what is wrong with the sender.
_NO_MAILBOX = {"1.1", "1.2", "1.6", "1.10"}

# Told of an address that does not exist.
Gone = Callable[[str], Awaitable[object]]


class Smtp:
    """A mail server. `timeout_s` bounds a whole attempt; `suppress` is told of each address that does not exist."""

    name = "smtp"

    def __init__(
        self, pool: SmtpPool, composer: Composer, timeout_s: float = 10.0, suppress: Gone | None = None
    ) -> None:
        self._pool = pool
        self._composer = composer
        self._letterhead = composer.letterhead
        self._suppress = suppress
        self._timeout_s = timeout_s

    async def send(self, attempt: Attempt) -> Outcome:
        """Hands the mail over."""
        mail = await self._composer.compose(attempt)
        if not isinstance(mail, Mail):
            return mail
        handover = _Handover(
            self._letterhead.address, mail, render(mail, self._letterhead, attempt.create_time)
        )
        try:
            async with time_limit.within(self._timeout_s), self._pool.room():
                await handover.run(self._pool)
        except LeaseOver:
            return lease.OVER
        except _Refused as error:
            if _is_gone(handover.stage, error.answer):
                await self._gone(mail.to)
            alone = _is_about_mailbox(handover.stage, error.answer)
            return refused(handover.stage, error.answer.code, alone=alone)
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

    async def _gone(self, address: str) -> None:
        if self._suppress is None:
            return
        try:
            await self._suppress(address)
        except PyMongoError as error:
            # The mail is refused in any case, and the next one will be, too, and tell us again.
            log.warning("suppression_not_kept", error=type(error).__name__)


class _Refused(Exception):
    """The server said something else than what lets the mail go on."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


class _Handover:
    """One mail on its way over one connection, with how far it came."""

    def __init__(self, sender: str, mail: Mail, content: bytes) -> None:
        # What is sent until the server waits for the text, and what it has to answer.
        self._commands = (
            ("MAIL", f"MAIL FROM:<{sender}>\r\n".encode("ascii"), {250}),
            ("RCPT", f"RCPT TO:<{mail.to}>\r\n".encode("ascii"), {250, 251}),
            ("DATA", b"DATA\r\n", {354}),
        )
        self._content = content
        self.stage = "WAIT"

    async def run(self, pool: SmtpPool) -> None:
        """Raises _Refused, LeaseOver, SMTPException, OSError and TimeoutError; `stage` then says where."""
        wire = pool.kept()
        if wire is not None and await self._over(pool, wire, kept=True):
            return
        self.stage = "CONNECT"
        await self._over(pool, await pool.fresh(), kept=False)

    async def _over(self, pool: SmtpPool, wire: Wire, kept: bool) -> bool:
        """Sends the mail over `wire`; False where the server has closed that since the last one, which is no failure
        of this mail."""
        wire.mails += 1
        try:
            await self._converse(wire, pool.timeout_s)
        except _Refused as refused:
            if refused.answer.code == 421:
                wire.close()
                if kept and self.stage == "MAIL":
                    return False
            else:
                await self._clear(pool, wire)
            raise
        except BaseException as error:
            # A broken conversation, a time-out or a cancelled task: nobody knows what comes next on it.
            wire.abort()
            if kept and self.stage == "MAIL" and isinstance(error, OSError):
                return False
            raise
        pool.keep(wire)
        return True

    async def _converse(self, wire: Wire, limit_s: float) -> None:
        if wire.pipelining:
            self.stage = self._commands[0][0]
            wire.write(b"".join(command for _, command, _ in self._commands))
        for number, (stage, command, wanted) in enumerate(self._commands, 1):
            self.stage = stage
            if not wire.pipelining:
                wire.write(command)
            answer = await wire.answer(limit_s)
            if answer.code not in wanted:
                if wire.pipelining:
                    await _pass_over(wire, len(self._commands) - number, limit_s)
                raise _Refused(answer)
        self.stage = "END"
        wire.hand_over(_DOT.sub(b"..", self._content) + b".\r\n")
        answer = await wire.answer(limit_s)
        if answer.code != 250:
            raise _Refused(answer)

    async def _clear(self, pool: SmtpPool, wire: Wire) -> None:
        """Keeps a connection whose server refused this mail."""
        try:
            wire.write(b"RSET\r\n")
            cleared = (await wire.answer(pool.timeout_s)).code == 250
        except (OSError, TimeoutError):
            cleared = False
        if cleared:
            pool.keep(wire)
        else:
            wire.abort()


async def _pass_over(wire: Wire, count: int, limit_s: float) -> None:
    """Reads the answers to what was sent along with a command that was refused."""
    for _ in range(count):
        try:
            if (await wire.answer(limit_s)).code == 354:
                # It waits for a text that has no recipient. Hanging up is the one way to surely send none.
                wire.abort()
        except (OSError, TimeoutError):
            # The refusal is what counts.
            wire.abort()
            return


def _is_gone(stage: str, answer: Answer) -> bool:
    """Whether the server says that there is no such mailbox, by an enhanced code (RFC 3463). The bare 550 says this
    as well as that a policy forbids it (RFC 5321, 4.2.3), so that it proves nothing."""
    found = _ENHANCED.match(answer.text) if stage == "RCPT" and answer.code // 100 == 5 else None
    return found is not None and found[1] == "5" and found[2] in _NO_MAILBOX


def _is_about_mailbox(stage: str, answer: Answer) -> bool:
    """Whether a refusal says nothing about the server: the mailbox is busy, full or away for now."""
    if stage != "RCPT" or answer.code == 421:
        return False
    found = _ENHANCED.match(answer.text)
    return answer.code == 450 if found is None else found[3] in {"1", "2"}


def refused(stage: str, code: int, *, alone: bool = False) -> Outcome:
    """What an answer other than the wanted one means; the table at the top."""
    error = f"{stage}_{code}"
    match stage, code // 100:
        case "MAIL", 5 if code == 552:
            return Discard("PAYLOAD_TOO_LARGE", error)
        case "CONNECT" | "MAIL", _:
            return Retry(error)
        case _, 4:
            return Retry(error, alone=alone)
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
            return Snooze("ALL_CONNECTIONS_BUSY", alone=True)
        case "END":
            return Unknown(word)
        case "CONNECT":
            return Retry("CONNECT_FAILED")
        case _:
            return Retry(f"{stage}_{word}")
