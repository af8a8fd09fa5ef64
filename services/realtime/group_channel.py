"""`group:<id>` and `chat:<id>`: members of a group, who is here, who types, and what they send each other."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from pymongo.errors import PyMongoError

from crown import logs
from crown.errors import CrownError, InvalidRequest, NotAllowed, StoreUnavailable, Violation
from crown.groups import Group
from services.realtime import address
from services.realtime.channel import Backend, Channel, Connection, Welcome, since_of, standing
from services.realtime.live import INBOX_EVENTS, Notice, Removed
from services.realtime.message import Message

log = logs.get(__name__)

# Seconds after which somebody who does not say so again types no longer.
TYPING_S = 5.0
# Seconds in which they are told to the others once.
TYPING_TOLD_S = 2.0
EVENT_MOST_BYTES = 16 << 10
META_MOST_BYTES = 1 << 10
_EVENT = re.compile(r"[a-z][a-z0-9_.:-]{0,63}")
# Events that only the service sends.
_OWN = INBOX_EVENTS | {"unread_count", "resync", "metrics", "inbox", "removed", "access_token"}
_OWN_PREFIXES = ("phx_", "presence_")


class GroupChannel(Channel):
    """One connection of a member."""

    __slots__ = ("_client_events", "_ref", "_told_at", "_typing", "_user_id")

    KINDS = ("group", "chat")

    def __init__(self, join: Message, topic: str, connection: Connection, backend: Backend) -> None:
        super().__init__(join, topic, connection, backend)
        self._user_id = connection.principal.subject
        self._client_events = False
        # By which presence knows this connection on the topic; empty where it is not shown.
        self._ref = ""
        # Set while the person types: when that ends by itself.
        self._typing: asyncio.TimerHandle | None = None
        self._told_at = float("-inf")

    @property
    def member(self) -> tuple[str, str]:
        """The group and the person, as memberships are asked for."""
        return self.name, self._user_id

    async def must_be_member(self) -> None:
        """See Channel."""
        self._client_events = (await self._membership()).client_events

    async def enter(self, payload: Any) -> Welcome:
        """Answers as a person's own topic does, and then sends who is here."""
        since = since_of(payload)
        joined = await self._backend.hub.join(
            address.of(self.address_topic),
            self._connection.subscriber,
            since,
            name=self.topic,
            notice=self._hear,
        )
        return Welcome(standing(joined), joined)

    def joined(self) -> None:
        """See Channel."""
        self._backend.memberships.add(self)
        self._appear({})
        self._backend.spawn(self._tell_who_is_here())

    def handle(self, event: object, payload: Any) -> Any:
        """Typing, what others are to know of one's presence, and, where the group allows it, events for the
        other members: they get them with the sender's `user_id`."""
        match event:
            case "typing":
                self._type(payload)
            case "presence":
                self._describe(payload)
            case _:
                self._send(event, payload)
        return {}

    def leave(self) -> None:
        """See Channel."""
        super().leave()
        self._backend.memberships.discard(self)
        self._stop_typing()
        self._disappear()

    def expel(self) -> None:
        """Ends it: the person is a member no longer."""
        self._connection.push(self, "removed", {"reason": NotAllowed.reason})
        self._connection.dismiss(self)

    # -- members

    async def _membership(self) -> Group:
        try:
            group = await self._backend.groups.membership(self.member)
        except PyMongoError as error:
            raise StoreUnavailable("the store does not answer; try again") from error
        if group is None or group.topic != self.address_topic:
            raise NotAllowed("only members may join")
        return group

    def _hear(self, notice: Notice) -> None:
        if isinstance(notice, Removed):
            if notice.concerns(self._user_id):
                self.expel()
        else:
            # Events were lost, and who came or left may be among them.
            self._backend.spawn(self._tell_who_is_here())

    # -- presence

    def _appear(self, meta: dict[str, Any]) -> None:
        self._ref = self._backend.presence.track(self.address_topic, self._user_id, meta)

    async def _tell_who_is_here(self) -> None:
        for event, payload in await self._backend.presence.state(self.address_topic):
            self._connection.push(self, event, payload)

    def _describe(self, payload: Any) -> None:
        """`{"event": "track", "payload": {…}}` says more of oneself, `{"event": "untrack"}` hides."""
        what = payload.get("event") if isinstance(payload, dict) else None
        meta = payload.get("payload", {}) if isinstance(payload, dict) else {}
        if what not in {"track", "untrack"} or not isinstance(meta, dict):
            raise InvalidRequest.of(
                [Violation("event", "must be track, with an object as payload, or untrack")]
            )
        if len(msgspec.json.encode(meta)) > META_MOST_BYTES:
            raise InvalidRequest.of(
                [Violation("payload", f"must be at most {META_MOST_BYTES} bytes of JSON")]
            )
        if what == "untrack":
            self._disappear()
        elif self._ref:
            self._backend.presence.update(self.address_topic, self._ref, meta)
        else:
            self._appear(meta)

    def _disappear(self) -> None:
        if self._ref:
            ref, self._ref = self._ref, ""
            self._backend.presence.untrack(self.address_topic, ref)

    # -- typing

    def _type(self, payload: Any) -> None:
        on = payload.get("typing", True) if isinstance(payload, dict) else True
        if not on:
            self._stop_typing()
            return
        loop = asyncio.get_running_loop()
        began = self._typing is None
        if self._typing is not None:
            self._typing.cancel()
        self._typing = loop.call_later(TYPING_S, self._stop_typing)
        if began or loop.time() - self._told_at >= TYPING_TOLD_S:
            self._told_at = loop.time()
            self._tell_typing(on=True)

    def _stop_typing(self) -> None:
        if self._typing is not None:
            self._typing.cancel()
            self._typing = None
            self._tell_typing(on=False)

    def _tell_typing(self, *, on: bool) -> None:
        payload = {"user_id": self._user_id, "typing": on, "expires_in_ms": int(TYPING_S * 1000) if on else 0}
        self._tell("typing", payload)

    # -- events of members

    def _send(self, event: object, payload: Any) -> None:
        if not self._client_events:
            raise NotAllowed("members of this group do not send events of their own")
        if not isinstance(event, str) or not _EVENT.fullmatch(event) or _is_own(event):
            what = "must be lower-case letters, digits or _.:- and none of the service's own"
            raise InvalidRequest.of([Violation("event", what)])
        if isinstance(payload, bytes):
            if len(payload) > EVENT_MOST_BYTES:
                raise InvalidRequest.of([Violation("payload", f"must be at most {EVENT_MOST_BYTES} bytes")])
            self._tell(event, payload)
            return
        if not isinstance(payload, dict):
            raise InvalidRequest.of([Violation("payload", "must be an object, or bytes in a binary frame")])
        whole = {**payload, "user_id": self._user_id}
        if len(msgspec.json.encode(whole)) > EVENT_MOST_BYTES:
            raise InvalidRequest.of(
                [Violation("payload", f"must be at most {EVENT_MOST_BYTES} bytes of JSON")]
            )
        self._tell(event, whole)

    def _tell(self, event: str, payload: dict[str, Any] | bytes) -> None:
        self._backend.spawn(self._tell_others(event, payload))

    async def _tell_others(self, event: str, payload: dict[str, Any] | bytes) -> None:
        origin = self._connection.subscriber.id
        try:
            await self._backend.hub.publish_ephemeral(self.address_topic, event, payload, origin)
        except CrownError as error:
            # As if it had been lost on the way: these events are for who is here at this moment.
            log.warning("ephemeral_event_lost", reason=error.reason)


def _is_own(event: str) -> bool:
    return event in _OWN or event.startswith(_OWN_PREFIXES)
