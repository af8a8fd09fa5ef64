"""A channel: one connection on one topic, from join to leave. Who may join says the rule in the proto; what a topic
allows stands in its own module; which topics there are, in topics.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import msgspec

from crown import access
from crown.auth import Authenticator, Principal
from crown.errors import InvalidRequest, NotAllowed
from crown.groups import Groups
from crown.live_position import Position
from crown.notification.v1 import access_pb2
from services.realtime.counts import UnreadCounts
from services.realtime.hub import Hub, Joined
from services.realtime.memberships import Memberships
from services.realtime.message import NULL, Message
from services.realtime.presence.tracker import Tracker
from services.realtime.room import Subscriber
from services.realtime.tasks import Spawn
from services.realtime.topic_rules import RULES

_NULL = bytes(NULL)
# The rule of a topic that has none.
_NOBODYS = access_pb2.TopicRule()


class Connection(Protocol):
    """What a channel knows of the connection that it is on."""

    @property
    def principal(self) -> Principal:
        """Who is connected."""

    @property
    def subscriber(self) -> Subscriber:
        """Takes what the topic brings."""

    def push(self, channel: Channel, event: str, payload: Any) -> None:
        """Sends something to the client on this channel alone."""

    def dismiss(self, channel: Channel) -> None:
        """Ends the channel from this side, for good."""

    def on(self, channel: Channel) -> bool:
        """True while the channel stands."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What channels work with, one a process."""

    hub: Hub
    groups: Groups
    memberships: Memberships
    counts: UnreadCounts
    presence: Tracker
    authenticator: Authenticator
    spawn: Spawn


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a join answers, and what has to be sent right behind the answer."""

    response: dict[str, Any]
    joined: Joined | None = None


class Channel:
    """Behaviour of a topic; subclasses say what clients may do there."""

    __slots__ = ("_backend", "_connection", "_expected", "address_topic", "join_ref", "topic")

    # The kinds of topic that a class of channel is for.
    KINDS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, join: Message, topic: str, connection: Connection, backend: Backend) -> None:
        # As the client calls it; `address_topic` is what it means.
        self.topic: str = join.topic
        self.address_topic = topic
        self._connection = connection
        self._backend = backend
        self._expected = bytes(join.join_ref)
        # What messages of this channel carry. Copied, since a decoded part keeps its whole frame alive.
        self.join_ref = msgspec.Raw(bytes(join.ref) if self._expected == _NULL else self._expected)

    @property
    def name(self) -> str:
        """The id that the topic names: a person, a group."""
        return self.address_topic.partition(":")[2]

    def owns(self, message: Message) -> bool:
        """False where `message` belongs to an earlier join of the topic."""
        said = bytes(message.join_ref)
        return said in (_NULL, self._expected)

    async def join(self, payload: Any) -> Welcome:
        """Lets the connection in where the rule of the topic does. Raises CrownError to refuse."""
        kind, _, name = self.address_topic.partition(":")
        if access.check_topic(RULES.get(kind, _NOBODYS), self._connection.principal, name):
            await self.must_be_member()
        return await self.enter(payload)

    async def must_be_member(self) -> None:
        """Raises NotAllowed unless the person is a member of the group. Only topics of groups have members."""
        raise NotAllowed("this topic has no members")

    async def enter(self, payload: Any) -> Welcome:
        """Joins the topic, for somebody who may. Raises CrownError to refuse."""
        raise NotImplementedError

    def joined(self) -> None:
        """The client has been told that it is in."""

    def handle(self, event: object, payload: Any) -> Any:
        """Works on a client's message and answers it. Raises CrownError to refuse; any other exception ends
        the channel."""
        del payload
        raise InvalidRequest(f"the topic takes no such event from clients: {str(event)[:64]}")

    def leave(self) -> None:
        """Ends it; harmless where it never began."""
        self._backend.hub.leave(self.address_topic, self._connection.subscriber, self.topic)


def since_of(payload: object) -> Position | None:
    """Where a join wants to go on: `{"since": <offset>, "epoch": "<epoch>"}`. None where it does not say. Raises
    InvalidRequest where what it says is no position."""
    if not isinstance(payload, dict) or payload.get("epoch") in (None, ""):
        return None
    offset, epoch = payload.get("since"), payload["epoch"]
    if not isinstance(epoch, str) or type(offset) is not int or not 0 <= offset < 1 << 63:
        raise InvalidRequest("since must be an offset, and epoch the text that came with it")
    return Position(offset, epoch)


def standing(joined: Joined) -> dict[str, Any]:
    """What the answer to a join says of it."""
    return {
        "recovered": joined.recovered,
        "offset": joined.position.offset,
        "epoch": joined.position.epoch,
    }
