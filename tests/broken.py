"""What a client of NATS would not put on the bus, and anybody who speaks its protocol can."""

from __future__ import annotations

from nats.aio.client import Client

HEADERS = {
    "no line": b"X",
    "a version alone": b"NATS/1.0",
    "no end": b"NATS/1.0\r\nabc",
    "a status": b"NATS/1.0 409\r\n\r\n",
    "a status that is no text": b"NATS/1.0 \xff\xff \xfe\r\n\r\n",
    "a heartbeat": b"NATS/1.0\r\nStatus: 100\r\n\r\n",
    "the end of a request": b"NATS/1.0\r\nStatus: 409\r\n\r\n",
    "a value that is no text": b"NATS/1.0\r\ntraceparent: \xff\xfe\r\n\r\n",
    "a name that is no text": b"NATS/1.0\r\n\xff\xfe: a\r\n\r\n",
    "NUL": b"NATS/1.0\r\na\x00b: \x00\r\n\r\n",
    "a large one": b"NATS/1.0\r\na: " + b"x" * 60_000 + b"\r\n\r\n",
}
PLAIN = b"NATS/1.0\r\n\r\n"


async def publish(client: Client, subject: bytes, head: bytes, data: bytes, reply: bytes = b"") -> None:
    """Publishes `data` with the headers `head`, as they are."""
    where = b" ".join(part for part in (subject, reply) if part)
    await client._send_command(
        b"HPUB %b %d %d\r\n%b%b\r\n" % (where, len(head), len(head) + len(data), head, data)
    )
    await client.flush()
