"""Why this side closes a socket: every code in one table. Reasons are for people and tell nothing of what is
inside. phoenix.js comes back after each of them; other clients should go by `again`.

| code | reason          | when                                                      | come back     |
| ---- | --------------- | --------------------------------------------------------- | ------------- |
| 1000 | (none)          | the client closed                                         | as it likes   |
| 1001 | revoked         | the session was revoked, or the key of its token withdrawn| with a login  |
| 1002 | idle, protocol  | 60 s without a byte from the client; broken WebSocket     | yes           |
| 1007 | not UTF-8       | a text frame that is no text                              | no            |
| 1009 | too big         | a frame, or the fragments of one, over 64 KiB             | no            |
| 1011 | undecodable     | a frame that is no message, or whose ref is over 256 bytes| yes           |
|      |                 | or topic or event over 4,096; a fault of ours             |               |
| 1012 | restart, again  | the node is going down; somebody asked to connect again   | yes           |
| 3005 | expired         | the token expired                                         | with a new one|
| 3008 | slow            | more than 1 MiB waits because the client does not read    | yes           |
| 3013 | too fast        | more frames from the client than CROWN_MESSAGE_RATE allows| yes           |
| 3504 | too many        | more connections of the person than                       | no            |
|      |                 | CROWN_CONNECTIONS_PER_USER allows; the newest loses       |               |

From 3000 on, a code below 3500 invites the client to come back and one above does not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Close:
    """A WebSocket close: code, words, and whether the client should come back."""

    code: int
    reason: str
    again: bool


NORMAL = Close(1000, "", again=False)
REVOKED = Close(1001, "revoked", again=False)
IDLE = Close(1002, "idle", again=True)
PROTOCOL = Close(1002, "protocol", again=True)
NOT_TEXT = Close(1007, "not UTF-8", again=False)
TOO_BIG = Close(1009, "too big", again=False)
UNDECODABLE = Close(1011, "undecodable", again=True)
FAULT = Close(1011, "", again=True)
RESTART = Close(1012, "restart", again=True)
AGAIN = Close(1012, "again", again=True)
EXPIRED = Close(3005, "expired", again=True)
SLOW = Close(3008, "slow", again=True)
TOO_FAST = Close(3013, "too fast", again=True)
TOO_MANY = Close(3504, "too many connections", again=False)
