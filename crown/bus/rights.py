"""What NATS lets this user do, as the server says it: asked once by who connects, and told to those who set up rights
when our code does something else. Which user has which rights is not decided here."""

from __future__ import annotations

import re

import msgspec
import nats.errors
from nats.aio.client import Client

from crown import logs, metrics, subjects

log = logs.get(__name__)

# Where a user asks what it may do.
RIGHTS = "$SYS.REQ.USER.INFO"
_TIMEOUT_S = 2.0
_MAKES_STREAMS = f"$JS.API.STREAM.CREATE.{subjects.DEAD}"
# What the server says to who did something else.
_FORBIDDEN = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)


class _Publish(msgspec.Struct):
    allow: list[str] | None = None


class _Permissions(msgspec.Struct):
    publish: _Publish = msgspec.field(default_factory=_Publish)


class _User(msgspec.Struct):
    permissions: _Permissions = msgspec.field(default_factory=_Permissions)


class _Rights(msgspec.Struct):
    """The server's answer; nothing said is nothing forbidden."""

    data: _User = msgspec.field(default_factory=_User)


_RIGHTS = msgspec.json.Decoder(_Rights)


def inbox_prefix(user: str) -> str:
    """Below what `user` of NATS hears answers, so that none reads those of another; without one, what everybody
    takes."""
    return f"_INBOX_{user}" if user else "_INBOX"


async def may_make(client: Client) -> bool:
    """Whether the server lets this user make streams and consumers. True where it does not say."""
    try:
        answer = await client.request(RIGHTS, b"", timeout=_TIMEOUT_S)
    except (nats.errors.Error, TimeoutError):
        return True
    allowed = _RIGHTS.decode(answer.data).data.permissions.publish.allow
    return allowed is None or any(subjects.covers(pattern, _MAKES_STREAMS) for pattern in allowed)


def forbidden(words: str) -> tuple[str, str] | None:
    """The act, "publish" or "subscription", and the subject that an error of the server forbids in `words`; None
    where it is about something else."""
    found = _FORBIDDEN.search(words)
    return None if found is None else (found[1], found[2])


def note_forbidden(act: str, subject: str) -> None:
    """Tells whoever set up the rights that NATS does not let this user do what our code does."""
    metrics.BUS_FORBIDDEN.labels(act).inc()
    log.error("bus_forbidden", act=act, subject=_shortened(subject))


def _shortened(subject: str) -> str:
    """A subject without what it says of people, which stands behind the kind of topic."""
    return ".".join(subject.split(".")[: 6 if subject.startswith("$") else 3])
