"""The SMTP side, on the loop of the process: aiosmtpd speaks the protocol, the porter decides."""

from __future__ import annotations

import asyncio
import hmac
import warnings
from collections.abc import Awaitable, Callable, Sequence

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from stack.hangup import hang_up
from stack.mailbox.letters import Letters
from stack.mailbox.script import Command, Order, Scripts

MAX_MAIL_BYTES = 32 * 1024 * 1024


class Porter:
    """aiosmtpd's handler: takes every mail, unless a script says otherwise."""

    def __init__(self, letters: Letters, scripts: Scripts, pipelining: bool = True) -> None:
        self._letters = letters
        self._scripts = scripts
        self._pipelining = pipelining

    async def handle_EHLO(
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # The last line ends the answer, and aiosmtpd has written it already.
        return [*responses[:-1], *(["250-PIPELINING"] if self._pipelining else []), responses[-1]]

    async def handle_MAIL(
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        order = await self._scripted("MAIL", server)
        if order is not None and not _agrees(order):
            return _reply(server, order)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        order = await self._scripted("RCPT", server, [address])
        if order is not None and not _agrees(order):
            return _reply(server, order)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        order = self._scripts.take("DATA", envelope.rcpt_tos)
        if order is not None and order.reply is not None and not _agrees(order):
            await asyncio.sleep(order.delay_s)
            return _reply(server, order)
        data = envelope.original_content
        letter = self._letters.add(envelope.mail_from or "", envelope.rcpt_tos, bytes(data or b""))
        own = f"250 2.0.0 OK: kept as {letter.id}"
        if order is None:
            return own
        # After the mail is kept: a sender that gives up while it waits has sent it all the same.
        await asyncio.sleep(order.delay_s)
        if order.drop:
            await _drop(server)
        return order.reply or own

    async def handle_exception(self, error: Exception) -> str:
        """What went wrong here is ours, so the sender may try again."""
        return f"451 4.3.0 {type(error).__name__}: the mailbox could not keep this mail"

    async def _scripted(self, command: Command, server: SMTP, people: Sequence[str] = ()) -> Order | None:
        order = self._scripts.take(command, people)
        if order is not None:
            await asyncio.sleep(order.delay_s)
            if order.drop:
                await _drop(server)
        return order


def _agrees(order: Order) -> bool:
    """Whether the command is carried out: a scripted 2xx, or a delay alone."""
    return order.reply is None or order.reply.startswith("2")


def _reply(server: SMTP, order: Order) -> str:
    reply = order.reply or ""
    if reply.startswith("421") and server.transport is not None:
        # Once aiosmtpd has written the reply: RFC 5321 has the server close after 421.
        asyncio.get_running_loop().call_soon(server.transport.close)
    return reply


async def _drop(server: SMTP) -> None:
    """Never returns: aiosmtpd cancels the handler of a connection that is lost."""
    hang_up(server.transport)
    await asyncio.Event().wait()


def _gate(user: str, password: str) -> Callable[..., AuthResult]:
    def check(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, shown: object
    ) -> AuthResult:
        good = (
            isinstance(shown, LoginPassword)
            and hmac.compare_digest(shown.login, user.encode())
            and hmac.compare_digest(shown.password, password.encode())
        )
        return AuthResult(success=good, handled=False)

    return check


def listen(
    porter: Porter, bind: str, port: int, user: str = "", password: str = ""
) -> Awaitable[asyncio.Server]:
    """Starts the SMTP server; with a user, nobody may send without the password."""
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        with warnings.catch_warnings():
            # AUTH without TLS is what loopback is for.
            warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")
            return SMTP(
                porter,
                data_size_limit=MAX_MAIL_BYTES,
                enable_SMTPUTF8=True,
                # Without it aiosmtpd asks the DNS for this machine's name at every connection.
                hostname="mailbox.localhost",
                ident="Crown mailbox",
                authenticator=_gate(user, password) if user else None,
                auth_required=bool(user),
                auth_require_tls=not user,
                loop=loop,
            )

    return loop.create_server(connection, bind, port)
