"""The conversation with a mail server, once it has greeted us, TLS and login are done. aiosmtplib does those; from
there on this takes over its transport, since aiosmtplib loses answers that come while nobody waits for one, and so
cannot send several commands at once (RFC 2920). Mails by hand also take half the time."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast

from aiosmtplib import SMTP

from crown import lease, time_limit

# Of one answer. Real ones have a few lines.
_ANSWER_MOST_BYTES = 32 << 10
_GONE = -1


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. A `code` of -1 is no SMTP at all."""

    code: int
    text: str


class Wire(asyncio.Protocol):
    """One connection. `mails` counts those that went over it; `pipelining` says whether the server takes several
    commands at once."""

    def __init__(self, client: SMTP) -> None:
        self._client = client  # closes the transport when it is collected
        self._transport = cast(asyncio.Transport, client.transport)
        self._read = bytearray()
        self._lines: list[bytes] = []
        self._answers: deque[Answer] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False
        self.mails = 0
        self.pipelining = client.supports_extension("pipelining")
        self._transport.set_protocol(self)

    @property
    def idle(self) -> bool:
        """Whether it stands, and the server has said nothing since its last answer was read."""
        return not (self._lost or self._transport.is_closing() or self._answers or self._read)

    def write(self, raw: bytes) -> None:
        """Sends bytes. Raises ConnectionError where the connection is gone."""
        if self._lost or self._transport.is_closing():
            raise ConnectionResetError("lost")
        self._transport.write(raw)

    def hand_over(self, raw: bytes) -> None:
        """Sends what cannot be taken back. Raises LeaseOver and ConnectionError."""
        lease.last_look()
        self.write(raw)

    async def answer(self, limit_s: float) -> Answer:
        """The next answer. Raises ConnectionError where it can come no more, TimeoutError where it does not."""
        if not self._answers:
            if self._lost:
                raise ConnectionResetError("lost")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with time_limit.within(limit_s):
                    await self._waiter
            finally:
                self._waiter = None
        return self._answers.popleft()

    def close(self) -> None:
        """Ends the connection; what was written still goes out."""
        self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Takes what came apart into answers."""
        self._read += data
        while (end := self._read.find(b"\n")) >= 0:
            line = bytes(self._read[:end]).rstrip(b"\r")
            del self._read[: end + 1]
            self._lines.append(line)
            if line[3:4] != b"-":
                self._take(self._lines)
                self._lines = []
        if len(self._read) + sum(map(len, self._lines)) > _ANSWER_MOST_BYTES:
            self._take([b""])
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits, waits no more."""
        self._lost = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc if isinstance(exc, OSError) else ConnectionResetError("lost"))

    def _take(self, lines: list[bytes]) -> None:
        code = int(lines[-1][:3]) if lines[-1][:3].isdigit() and len(lines[-1][:3]) == 3 else _GONE
        text = b"\n".join(line[4:].strip() for line in lines).decode("ascii", "replace")
        self._answers.append(Answer(code, text))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
