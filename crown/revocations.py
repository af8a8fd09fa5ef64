"""Sessions that were ended, and services and operators whose tokens were revoked. Every service refuses those tokens:
processes that run hear of it at once, those that start read what the stream keeps, which is as long as any token may
live. What the tokens have opened ends.

A process that could never read what was revoked does not begin to serve. One that the bus is taken from later keeps
what it knows, is not ready, and reads what it missed when the bus is back. Whether a word got lost on the way, each
looks every few seconds.

The claim `iat` of a token is in whole seconds, as most issuers write it. When a person, service or operator is
revoked, a token of that very second is still good: logging somebody out everywhere and handing them a new token
is one step for an auth service, and the new token would otherwise be refused for all its life. A token that was
issued in that second before, and not used yet, passes with it; sockets that are open do not. When one session
is revoked there is no such case, since a new login is another session: the whole second is refused. An `iat`
with a fraction is taken exactly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import nats.errors
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from crown import logs, subjects
from crown.auth import Principal
from crown.bus import Bus, BusError
from crown.bus.direct import Direct, Tap, sequence
from crown.errors import BusUnavailable
from crown.notification.v1 import events_pb2

log = logs.get(__name__)

_BATCH = 1_000
# Seconds between two looks at the stream, as with the keys of the auth service.
LOOK_PERIOD_S = 10.0


@dataclass(frozen=True, slots=True)
class Disconnect:
    """That a person, or one session of theirs, is to be cut off; or the service or operator of this name, where `use`
    says so. Tokens that were issued until `revoke_time`, in seconds since 1970, are refused from then on; None: they
    stay good."""

    subject: str
    session_id: str
    revoke_time: float | None
    use: str = "user"

    @property
    def revoked(self) -> bool:
        """True where tokens are refused."""
        return self.revoke_time is not None

    def concerns(self, principal: Principal) -> bool:
        """True where who is connected as `principal` is meant."""
        return self._names(principal) and (self.revoke_time is None or principal.issued <= self.revoke_time)

    def refuses(self, principal: Principal) -> bool:
        """True where the token of `principal` is no longer good."""
        if self.revoke_time is None or not self._names(principal):
            return False
        whole = principal.issued.is_integer()
        if whole and not self.session_id:
            return principal.issued < self.revoke_time // 1
        return principal.issued <= self.revoke_time

    def _names(self, principal: Principal) -> bool:
        if principal.use != self.use or principal.subject != self.subject:
            return False
        return self.session_id in ("", principal.session)


class Revocations:
    """What was revoked, as far as it can still matter. `watch` has to run beside."""

    def __init__(self, bus: Bus, clock: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._clock = clock
        self._direct = Direct(bus, subjects.REVOKED)
        # By use, subject and session.
        self._kept: dict[tuple[str, str, str], Disconnect] = {}
        # The stream that was read, and up to where.
        self._created = ""
        self._next = 1
        self._reading = asyncio.Lock()
        self._begun = False
        self._actions: list[Callable[[Disconnect], object]] = []

    def __len__(self) -> int:
        """How many are known."""
        return len(self._kept)

    def on_disconnect(self, action: Callable[[Disconnect], object]) -> None:
        """Calls `action`, which must not wait, with each that is told from now on, or was while the bus was away;
        then those are missing that revoke nothing."""
        self._actions.append(action)

    def refuses(self, principal: Principal) -> bool:
        """True where the token of `principal` was revoked."""
        if not self._kept:
            return False
        everywhere = self._kept.get((principal.use, principal.subject, ""))
        session = self._kept.get((principal.use, principal.subject, principal.session))
        return any(one is not None and one.refuses(principal) for one in (everywhere, session))

    async def start(self) -> None:
        """Listens, then reads all that is kept: some 30,000 a second. Raises BusUnavailable."""
        await self._direct.start()
        try:
            # Before reading: what comes meanwhile is heard.
            await self._bus.client.subscribe(subjects.REVOCATIONS, future=Tap(self._hear))  # type: ignore[arg-type]
        except nats.errors.Error as error:
            raise BusUnavailable(f"the bus is away ({type(error).__name__})") from error
        try:
            await self._read()
        except BusError as error:
            raise BusUnavailable(f"what was revoked cannot be read: {error}") from error
        self._begun = True
        self._bus.on_reconnect(self._read)
        log.info("revocations_read", known=len(self._kept))

    async def watch(self) -> None:
        """Looks for what it was not told, and forgets what no token can be as old as, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            self.forget()
            try:
                await self._read()
            except (BusError, BusUnavailable) as error:
                log.warning("revocations_unreadable", error=str(error))
            except Exception as error:
                # Whatever it was: who stops looking believes revoked tokens.
                log.error("revocations_watch_failed", exc_info=error)

    def forget(self) -> None:
        """Forgets what is older than the stream keeps it."""
        oldest = self._clock() - subjects.REVOKED_KEPT_S
        for key, one in list(self._kept.items()):
            if one.revoke_time is not None and one.revoke_time < oldest:
                del self._kept[key]

    async def _read(self) -> None:
        """Reads what came since the last time. Raises BusUnavailable and BusError."""
        async with self._reading:
            await self._read_on()

    async def _read_on(self) -> None:
        found = await self._bus.api(f"STREAM.INFO.{subjects.REVOKED}")
        last: int = found["state"]["last_seq"]
        if found["created"] != self._created or last < self._next - 1:
            # Another stream than it was.
            self._created, self._next = found["created"], 1
        if last < self._next:
            return
        # Of all subjects: the stream has no others, and the server would look at each.
        while messages := await self._direct.after(">", self._next, _BATCH):
            for message in messages:
                one = _decoded(message)
                # What only closes sockets has done so. What is known has, too.
                if one is not None and self._keep(one) and self._begun:
                    self._act(one)
            self._next = max(self._next, sequence(messages[-1])) + 1

    def _hear(self, message: Msg) -> None:
        # Runs inside the bus's reader, which an exception would end.
        one = _decoded(message)
        if one is not None:
            self.hear(one)

    def hear(self, one: Disconnect) -> None:
        """Takes one in that is told at this moment."""
        self._keep(one)
        self._act(one)

    def _keep(self, one: Disconnect) -> bool:
        """True where it was not known."""
        key = one.use, one.subject, one.session_id
        known = self._kept.get(key)
        if one.revoke_time is None or (known is not None and one.revoke_time <= (known.revoke_time or 0.0)):
            return False
        self._kept[key] = one
        return True

    def _act(self, one: Disconnect) -> None:
        for action in self._actions:
            try:
                action(one)
            except Exception as error:
                log.error("disconnect_failed", exc_info=error)


def _decoded(message: Msg) -> Disconnect | None:
    """The event in `message`; None where there is none that names somebody."""
    try:
        event = events_pb2.DisconnectEvent.FromString(message.data)
    except DecodeError:
        event = events_pb2.DisconnectEvent()
    named = {"user": event.user_id, "service": event.service_id, "operator": event.operator_id}
    found = [(use, subject) for use, subject in named.items() if subject]
    if len(found) != 1:
        log.error("revocation_unreadable", size=len(message.data))
        return None
    ((use, subject),) = found
    at = event.revoke_time
    moment = at.seconds + at.nanos / 1e9 if event.HasField("revoke_time") else None
    return Disconnect(subject, event.session_id, moment, use)
