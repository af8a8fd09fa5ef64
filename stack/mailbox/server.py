"""Puts the two sides of the mailbox behind their ports."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from aiohttp import web

from stack.journal import Journal
from stack.mailbox.letters import Letters
from stack.mailbox.script import Scripts
from stack.mailbox.settings import Settings
from stack.mailbox.smtp import Porter, listen
from stack.mailbox.web import Desk


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A running mailbox; its ports are those chosen by the system where the settings said 0."""

    smtp: asyncio.Server
    http: web.AppRunner
    journal: Journal

    @property
    def smtp_port(self) -> int:
        return int(self.smtp.sockets[0].getsockname()[1])

    @property
    def http_port(self) -> int:
        return int(self.http.addresses[0][1])

    async def stop(self) -> None:
        """Takes no more mail, then closes the store."""
        self.smtp.close()
        await self.http.cleanup()
        self.journal.close()


async def start(settings: Settings) -> Mailbox:
    """Reads the kept mail back and listens."""
    # aiosmtpd logs every command, with addresses, and a warning per connection that asks for AUTH.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    journal = Journal(settings.store)
    letters, scripts = Letters(journal), Scripts()
    password = settings.password.get_secret_value() if settings.password else ""
    porter = Porter(letters, scripts, settings.pipelining)
    smtp = await listen(porter, settings.bind, settings.smtp_port, settings.user, password)
    app = web.Application()
    app.add_routes(Desk(letters, scripts).routes())
    http = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await http.setup()
    await web.TCPSite(http, settings.bind, settings.http_port).start()
    return Mailbox(smtp, http, journal)
