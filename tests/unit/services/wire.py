"""A server that answers as no sandbox can: each call by the bytes that it is told, and with the ending that it is
told, whether that is HTTP or not."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stack.hangup import hang_up

_FOR_EVER_S = 300.0
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """What a call is answered, after `delay_s`. With `reset` the connection then ends by RST, else by FIN."""

    content: bytes = b""
    delay_s: float = 0.0
    reset: bool = False


@dataclass
class Wire:
    """Takes a call whole, gives `reply`, and ends the connection. `calls` counts them."""

    url: str = ""
    port: int = 0
    reply: Reply = field(default_factory=Reply)
    calls: int = 0
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # They have gone, or the test is over.
            hang_up(writer.transport)
        finally:
            self._open.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = self.reply
        head = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        await reader.readexactly(int(found[1]) if found else 0)
        self.calls += 1
        await asyncio.sleep(reply.delay_s)
        writer.write(reply.content)
        await writer.drain()
        if reply.reset:
            hang_up(writer.transport)
        else:
            writer.close()

    async def close(self) -> None:
        """Whoever still waits for an answer gets none."""
        left = list(self._open)
        for task in left:
            task.cancel()
        await asyncio.gather(*left)


@asynccontextmanager
async def opened(certificate: Path | None = None) -> AsyncIterator[Wire]:
    """A wire on loopback, by TLS where there is a certificate."""
    wire, context = Wire(), None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, ssl=context)
    wire.port = server.sockets[0].getsockname()[1]
    wire.url = f"{'https' if certificate else 'http'}://127.0.0.1:{wire.port}"
    try:
        yield wire
    finally:
        server.close()
        await wire.close()


def http(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, *, more: int = 0) -> bytes:
    """An answer that announces `more` bytes than it has."""
    lines = {**(headers or {}), "Content-Length": str(len(body) + more), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + body


def chunked(status: int, body: bytes) -> bytes:
    """An answer in chunks that stops within one."""
    head = f"HTTP/1.1 {status} Said\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    return head.encode() + f"{len(body) + 9:x}\r\n".encode() + body


def reply(answer: Mapping[str, Any]) -> Reply:
    """What the sandbox would do by this answer of a script, where nobody is played."""
    if answer.get("hang"):
        return Reply(delay_s=_FOR_EVER_S)
    if answer.get("reset"):
        return Reply(reset=True)
    content = http(answer.get("status", 200), answer.get("body", "").encode(), answer.get("headers"))
    return Reply(content, answer.get("delay_s", 0.0))
