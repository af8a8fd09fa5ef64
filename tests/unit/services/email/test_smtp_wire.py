"""The conversation with a mail server, byte by byte, with servers that say what no good one says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from crown.outcome import Delivered, Discard, Outcome, Retry, Unknown
from crown.provider import Attempt
from crown.rendering import Links
from services.email.message import Composer, Letterhead
from services.email.smtp.pool import SmtpPool
from services.email.smtp.provider import Smtp
from services.email.smtp.server import SmtpServer

Make = Callable[..., Attempt]
GREETING = "250-server\r\n250 PIPELINING\r\n"
SENT = Delivered(f"<{'d' * 32}@crown.example>")


@dataclass
class Server:
    """Answers the chunks that come with `answers`, one after another, and hangs up after the last."""

    answers: Sequence[str]
    chunks: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"220 server\r\n")
        for answer in self.answers:
            chunk = await reader.read(65536)
            if not chunk:
                break
            self.chunks.append(chunk)
            for piece in answer.split("|"):
                writer.write(piece.encode("latin-1"))
                await asyncio.sleep(0)
        writer.close()

    @property
    def commands(self) -> list[bytes]:
        return b"".join(self.chunks).split(b"\r\n")


@asynccontextmanager
async def against(*answers: str, links: Links) -> AsyncIterator[tuple[Smtp, Server]]:
    server = Server(answers)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    letterhead = Letterhead("Crown", "notifications@crown.example", links)
    client = Smtp(
        SmtpPool(SmtpServer("127.0.0.1", port), "crown.example"), Composer(letterhead), timeout_s=3.0
    )
    try:
        yield client, server
    finally:
        await client.close()
        listening.close()


async def test_the_envelope_is_one_round_trip(links: Links, attempt: Make) -> None:
    good = "250 ok\r\n250 ok\r\n354 go\r\n"
    async with against(GREETING, good, "250 ok\r\n", links=links) as (client, server):
        assert await client.send(attempt("ann@example.org")) == SENT
    envelope = b"MAIL FROM:<notifications@crown.example>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
    assert server.chunks[:2] == [b"EHLO crown.example\r\n", envelope]
    assert server.chunks[2].endswith(b"\r\n.\r\n")


async def test_a_server_from_before_there_were_extensions(links: Links, attempt: Make) -> None:
    steps = ("502 what?\r\n", "250 hello\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 ok\r\n")
    async with against(*steps, links=links) as (client, server):
        assert await client.send(attempt("ann@example.org")) == SENT
    assert [command[:4] for command in server.commands[:5]] == [b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA"]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param(["250 a\r\n25|0-b\r|\n250 c\r\n3|54 go\r\n", "250 ok\r\n"], SENT, id="in pieces"),
        pytest.param(["250 a\n251 will forward\n354 go\n", "250 ok\n"], SENT, id="bare line ends"),
        pytest.param(
            ["250 a\r\n550 5.7.1 no\r\n503 no recipients\r\n", "250 reset\r\n"],
            Discard("ADDRESS_REFUSED", "RCPT_550"),
            id="no to the recipient",
        ),
        pytest.param(
            ["451 later\r\n503 no\r\n503 no\r\n", "250 reset\r\n"], Retry("MAIL_451"), id="no to the sender"
        ),
        pytest.param(
            ["250 a\r\n550 no\r\n354 go\r\n"],
            Discard("ADDRESS_REFUSED", "RCPT_550"),
            id="no to the recipient, and waits for a text",
        ),
        pytest.param(["250 a\r\n250 b\r\n"], Retry("DATA_CONNECTION_LOST"), id="lost at DATA"),
        pytest.param(["250 a\r\n"], Retry("RCPT_CONNECTION_LOST"), id="lost at RCPT"),
        pytest.param(["HTTP/1.1 400 Bad Request\r\n"], Retry("MAIL_-1"), id="no SMTP"),
        pytest.param(["\xff\xfe\r\n"], Retry("MAIL_-1"), id="no text"),
        pytest.param(["250-" + "x" * 40_000], Retry("MAIL_-1"), id="an answer without an end"),
        pytest.param(["250-x\r\n" * 9_000], Retry("MAIL_-1"), id="lines without an end"),
        pytest.param(["421 closing\r\n"], Retry("MAIL_421"), id="421 at once"),
        pytest.param(
            ["250 a\r\n250 b\r\n354 go\r\n", "what?\r\n"], Unknown("END_-1"), id="no sense after the dot"
        ),
        pytest.param(["250 a\r\n250 b\r\n354 go\r\n", "25"], Unknown("CONNECTION_LOST"), id="cut off"),
        pytest.param(
            ["250 a\r\n250 b\r\n354 go\r\n", ""], Unknown("CONNECTION_LOST"), id="lost after the dot"
        ),
    ],
)
async def test_answers(links: Links, attempt: Make, answers: list[str], expected: Outcome) -> None:
    async with against(GREETING, *answers, links=links) as (client, server):
        assert await client.send(attempt("ann@example.org")) == expected
    # The text goes out only where the server waits for it with a recipient.
    sent = b"Content-Type" in b"".join(server.chunks)
    assert sent is isinstance(expected, Delivered | Unknown)
    # No dot, not even alone: that would be a mail.
    assert sent or b"." not in server.commands


async def test_who_said_goodbye_meanwhile_is_not_asked_again(links: Links, attempt: Make) -> None:
    """A 421 that came while nobody waited is the answer to nothing."""
    good = "250 ok\r\n250 ok\r\n354 go\r\n"
    async with against(GREETING, good, "250 ok\r\n|421 idle too long\r\n", links=links) as (client, server):
        assert await client.send(attempt("ann@example.org")) == SENT
        assert await client.send(attempt("ann@example.org")) == SENT
    assert server.connections == 2
