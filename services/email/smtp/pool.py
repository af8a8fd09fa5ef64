"""Connections to a mail server, kept between mails: a handshake with TLS and login costs more than a mail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiosmtplib import SMTP, SMTPHeloError

from services.email.smtp.server import SmtpServer
from services.email.smtp.wire import Wire

# Servers close what idles, often after a minute; whoever closes first avoids the race.
_IDLE_S = 20.0
# Servers bound the mails of a connection, often at 100, and answer 421 to the next; and a new connection may reach
# another machine behind the same name.
MAILS_MOST = 100


class SmtpPool:
    """Up to `connections` to `server`, greeted as `name`. `timeout_s` bounds each step of the protocol."""

    def __init__(self, server: SmtpServer, name: str, connections: int = 16, timeout_s: float = 8.0) -> None:
        self._server = server
        self._name = name
        self.timeout_s = timeout_s
        self._free = asyncio.Semaphore(connections)
        # The one used last is taken first, so that those not needed grow old and go.
        self._idle: list[tuple[float, Wire]] = []

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Waits until there may be one more connection."""
        async with self._free:
            yield

    def kept(self) -> Wire | None:
        """A connection from an earlier mail; the server may have closed it unnoticed."""
        while self._idle:
            since, wire = self._idle.pop()
            if wire.idle and time.monotonic() - since < _IDLE_S:
                return wire
            wire.close()
        return None

    async def fresh(self) -> Wire:
        """A new connection, with TLS and login as the server wants them. Raises SMTPException, OSError."""
        client = SMTP(
            hostname=self._server.host,
            port=self._server.actual_port,
            username=self._server.user or None,
            password=self._server.password or None,
            use_tls=self._server.tls,
            start_tls=True if self._server.demands_starttls else None,
            timeout=self.timeout_s,
            # Without one the DNS is asked for the name of this machine, in a thread, at every connection.
            local_hostname=self._name,
        )
        await client.connect()
        if client.is_ehlo_or_helo_needed:
            await _greet(client)
        return Wire(client)

    def keep(self, wire: Wire) -> None:
        """Takes back a connection that is between two mails."""
        if wire.mails >= MAILS_MOST:
            _leave(wire)
        elif wire.idle:
            self._idle.append((time.monotonic(), wire))
        else:
            wire.close()

    async def close(self) -> None:
        """Says goodbye on all that idle."""
        while self._idle:
            _leave(self._idle.pop()[1])
        # A turn of the loop for what was written to go out.
        await asyncio.sleep(0)


async def _greet(client: SMTP) -> None:
    try:
        await client.ehlo()
    except SMTPHeloError:
        # A server from before 1995. It can do all that we need.
        await client.helo()


def _leave(wire: Wire) -> None:
    if wire.idle:
        wire.write(b"QUIT\r\n")
    wire.close()
