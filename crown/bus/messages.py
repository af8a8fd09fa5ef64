"""A message on its way out as NATS reads it, and what JetStream answers to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from nats.aio.msg import Msg

from crown.bus.errors import FULL, BusError, NoTaker
from crown.errors import IntakeFull


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    subject: str
    data: bytes
    headers: Mapping[str, str] | None = None


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(msgspec.Struct):
    """JetStream's word that a message, or a whole batch, is stored."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    count: int = 0
    error: _Error | None = None


_PUB_ACK = msgspec.json.Decoder(PubAck)


def encode(message: Outgoing, headers: str = "") -> bytes:
    """`message` as NATS reads it from the wire, with `headers` before its own. The client's own way checks each name
    and value of each header again, which costs more than all else that is done with a notification of a batch."""
    rest = "".join(f"{name}: {value}\r\n" for name, value in (message.headers or {}).items())
    if not headers and not rest:
        return b"PUB %b %d\r\n%b\r\n" % (message.subject.encode(), len(message.data), message.data)
    head = f"NATS/1.0\r\n{headers}{rest}\r\n".encode()
    size = len(head)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (
        message.subject.encode(),
        size,
        size + len(message.data),
        head,
        message.data,
    )


def nobody_listens(answer: Msg) -> bool:
    """Whether the answer is the server's own word that nobody listens there."""
    return bool(answer.headers) and (answer.headers or {}).get("Status") == "503"


def read_ack(answer: Msg) -> PubAck:
    """That what was published is stored. Raises IntakeFull, NoTaker or BusError where it is not."""
    if nobody_listens(answer):
        raise NoTaker("no stream takes this subject now")
    ack = _PUB_ACK.decode(answer.data)
    if ack.error is not None:
        if ack.error.err_code in FULL:
            raise IntakeFull("the stream is full; retry later")
        raise BusError(ack.error.err_code, ack.error.description)
    return ack
