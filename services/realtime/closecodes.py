"""Why this side closes a socket: every code in one table, of which docs/errors.md is made. Reasons are for people and
tell nothing of what is inside. phoenix.js comes back after each of them; other clients should go by `again`. From
3000 on, a code below 3500 invites the client to come back and one above does not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Close:
    """A WebSocket close: code, words, whether the client should come back, and when it happens."""

    code: int
    reason: str
    again: bool
    when: str
    # What has to be another before coming back; empty where nothing has.
    needs: str = ""


NORMAL = Close(1000, "", again=False, when="the client closed")
REVOKED = Close(
    1001,
    "revoked",
    again=False,
    when="the session was revoked, or the key of its token withdrawn",
    needs="a login",
)
IDLE = Close(1002, "idle", again=True, when="60 s without a byte from the client")
PROTOCOL = Close(1002, "protocol", again=True, when="what came is no WebSocket")
NOT_TEXT = Close(1007, "not UTF-8", again=False, when="a text frame that is no text")
TOO_BIG = Close(1009, "too big", again=False, when="a frame, or the fragments of one, over 64 KiB")
UNDECODABLE = Close(
    1011,
    "undecodable",
    again=True,
    when="a frame that is no message, or whose ref is over 256 bytes, or topic or event over 4,096 characters",
)
FAULT = Close(1011, "", again=True, when="a fault of ours")
RESTART = Close(1012, "restart", again=True, when="the node is going down")
AGAIN = Close(1012, "again", again=True, when="somebody asked to connect again")
EXPIRED = Close(3005, "expired", again=True, when="the token expired", needs="a new token")
SLOW = Close(3008, "slow", again=True, when="more than 1 MiB waits because the client does not read")
TOO_FAST = Close(
    3013, "too fast", again=True, when="more frames from the client than `CROWN_MESSAGE_RATE` allows"
)
TOO_MANY = Close(
    3504,
    "too many connections",
    again=False,
    when="more connections of the person than `CROWN_CONNECTIONS_PER_USER` allows; the newest loses",
)
