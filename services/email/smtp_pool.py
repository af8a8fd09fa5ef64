"""Connections to a mail server, kept between mails: a handshake with TLS and login costs more than a mail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiosmtplib import SMTP, SMTPException

from services.email.smtp_server import SmtpServer

# Servers close what idles, often after a minute; whoever closes first avoids the race.
_IDLE_S = 20.0


class SmtpPool:
    """Up to `connections` to `server`, greeted as `name`. `timeout_s` bounds each step of the protocol."""

    def __init__(self, server: SmtpServer, name: str, connections: int = 16, timeout_s: float = 8.0) -> None:
        self._server = server
        self._name = name
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(connections)
        # The one used last is taken first, so that those not needed grow old and go.
        self._idle: list[tuple[float, SMTP]] = []

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Waits until there may be one more connection."""
        async with self._free:
            yield

    def kept(self) -> SMTP | None:
        """A connection from an earlier mail; the server may have closed it unnoticed."""
        while self._idle:
            since, client = self._idle.pop()
            if client.is_connected and time.monotonic() - since < _IDLE_S:
                return client
            client.close()
        return None

    async def fresh(self) -> SMTP:
        """A new connection, with TLS and login as the server wants them. Raises SMTPException, OSError."""
        client = SMTP(
            hostname=self._server.host,
            port=self._server.actual_port,
            username=self._server.user or None,
            password=self._server.password or None,
            use_tls=self._server.tls,
            start_tls=True if self._server.demands_starttls else None,
            timeout=self._timeout_s,
            # Without one the DNS is asked for the name of this machine, in a thread, at every connection.
            local_hostname=self._name,
        )
        await client.connect()
        return client

    def keep(self, client: SMTP) -> None:
        """Takes back a connection that is between two mails."""
        if client.is_connected:
            self._idle.append((time.monotonic(), client))

    async def close(self) -> None:
        """Says goodbye on all that idle."""
        while self._idle:
            _, client = self._idle.pop()
            try:
                async with asyncio.timeout(1.0):
                    await client.quit()
            except (SMTPException, OSError, TimeoutError):
                client.close()
