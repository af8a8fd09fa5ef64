"""The shared package in the tests' own process, on real servers: sends, dispatches, and looks at what is left."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from crown import subjects, vault
from crown.broadcasts import Broadcasts
from crown.bus import Bus, BusError, Outgoing
from crown.errors import BusUnavailable, OutcomeUnknown
from crown.notification.v1.events_pb2 import DeadLetter, DeliveryEvent, LiveEvent
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.types_pb2 import DeliveryState
from crown.store import Document, Store
from services.ingest.clock.clock import Clock
from services.ingest.dispatch.dispatcher import Dispatcher
from services.ingest.dispatch.filtering import Filtering
from services.ingest.inbox.broadcast_marks import BroadcastMarks
from services.ingest.inbox.marking import Marking
from services.ingest.intake import accept
from services.ingest.intake.accept import Accepted
from tests.integration.rig import Rig, until

Run = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


class Local:
    """Connections, and what tests ask of them."""

    def __init__(self, rig: Rig, bus: Bus, store: Store) -> None:
        self.rig = rig
        self.bus = bus
        self.store = store
        self.db = store.db
        self.data_key = vault.data_key(rig.environment["CROWN_DATA_KEY"])
        self._count = 0

    @classmethod
    async def connect(cls, rig: Rig, **given: str) -> Local:
        """Connects, which makes streams and indexes."""
        settings = rig.settings(**given)
        return cls(rig, await Bus.connect(settings, "tests"), await Store.connect(settings, "tests"))

    async def close(self) -> None:
        """Closes the connections."""
        await self.bus.close()
        await self.store.close()

    def somebody(self) -> str:
        """A person nobody has heard of."""
        self._count += 1
        return f"{self.rig.database}-{self._count}"

    # -- sending

    def accepted(self, key: str = "", **given: Any) -> Accepted:
        """A notification as the API would put it on the intake; `given` are fields of the request."""
        fields = {"data": {"title": "Hi"}, **given}
        if "user_ids" not in fields:
            fields.setdefault("user_id", self.somebody())
        request = SendNotificationRequest(**fields)
        return accept.resolve(request, "feed", "SendNotification", key, 0, self.data_key)

    async def put(self, accepted: Accepted) -> str:
        """Puts it on the intake, again where the bus did not say yes, and answers its id."""
        messages = [Outgoing(subjects.intake(accepted.lane), part) for part in accepted.parts]

        async def stored() -> bool:
            try:
                await self.bus.publish_batch(messages)
            except (BusUnavailable, OutcomeUnknown):
                return False
            return True

        await until(stored, within_s=30)
        return accepted.notification_id

    async def send(self, **given: Any) -> str:
        """`accepted`, and put on the intake."""
        return await self.put(self.accepted(**given))

    @asynccontextmanager
    async def working(self, *runs: Run) -> AsyncIterator[None]:
        """These work while the block runs, and are then stopped as a service stops them."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for run in runs:
                tasks.create_task(run(stopping))
            try:
                yield
            finally:
                stopping.set()

    @asynccontextmanager
    async def dispatching(self, filtering: Filtering | None = None) -> AsyncIterator[Dispatcher]:
        """A dispatcher of all lanes works while the block runs."""
        lanes = list(subjects.LANES.values())
        dispatcher = Dispatcher(self.bus, self.store, self.data_key, lanes, filtering)
        async with self.working(dispatcher.run):
            yield dispatcher

    def marking(self) -> Marking:
        """What brings people's marks into the store."""
        return Marking(self.bus, self.db, self.data_key, BroadcastMarks(self.db, Broadcasts(self.db)))

    def clock(self) -> Clock:
        """A clock of all lanes."""
        return Clock(self.bus, self.store, self.data_key, list(subjects.LANES.values()))

    # -- what is left

    async def rows(self, notification_id: str) -> list[Document]:
        """The rows of a notification."""
        return [row async for row in self.db.ledger.find({"notification_id": notification_id}).sort("_id", 1)]

    async def state(self, notification_id: str, channel: str) -> tuple[str, str]:
        """State and reason of the one delivery of a notification on a channel; empty where there is none."""
        rows = await self.rows(notification_id)
        if not rows:
            return "", ""
        (row,) = rows
        found = row["deliveries"][channel]
        return DeliveryState.Type.Name(found["state"]), found.get("reason", "")

    async def becomes(self, notification_id: str, channel: str, state: str, within_s: float = 15.0) -> str:
        """Waits for that state, and answers the reason."""
        found = await until(
            lambda: self.state(notification_id, channel), lambda found: found[0] == state, within_s
        )
        return found[1]

    async def messages(self, stream: str) -> int:
        """How many messages a stream holds."""
        return int((await self.bus.api(f"STREAM.INFO.{stream}"))["state"]["messages"])

    async def dispatched(self, within_s: float = 30.0) -> None:
        """Returns when dispatch has nothing left to do."""

        async def left() -> int:
            consumers = (
                consumer(lane)
                for lane in subjects.LANES.values()
                for consumer in (subjects.dispatcher, subjects.due_dispatcher)
            )
            return sum([await self.backlog(consumer) for consumer in consumers])

        await until(left, lambda count: count == 0, within_s)

    async def deliveries(self, channel: str, lane: str = "normal") -> list[DeliveryEvent]:
        """All deliveries of a channel on the bus."""
        raw = await self.stored(f"DELIVERY_{lane}", subjects.delivery(channel, lane))
        return [DeliveryEvent.FromString(one) for one in raw]

    async def delivered(
        self, channel: str, notification_id: str, lane: str = "normal"
    ) -> list[DeliveryEvent]:
        """Those of one notification."""
        found = await self.deliveries(channel, lane)
        return [event for event in found if event.notification_id == notification_id]

    async def live(self, user_id: str) -> list[LiveEvent]:
        """What a person's sockets are told."""
        raw = await self.stored("REALTIME", subjects.live_source(subjects.user_topic(user_id)))
        return [LiveEvent.FromString(one) for one in raw]

    async def backlog(self, consumer: subjects.Consumer) -> int:
        """How many messages a consumer has still to settle."""
        try:
            info = await self.bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
        except BusError as error:
            if error.err_code != 10014:  # its worker has not started yet
                raise
            return await self.messages(consumer.stream)
        return int(info["num_pending"] + info["num_ack_pending"])

    async def stored(self, stream: str, subject: str) -> list[bytes]:
        """What a stream holds on a subject."""
        found: list[bytes] = []
        sequence = 1
        while True:
            try:
                answer = await self.bus.api(
                    f"STREAM.MSG.GET.{stream}", {"seq": sequence, "next_by_subj": subject}
                )
            except BusError as error:
                if error.err_code != 10037:  # no such message
                    raise
                return found
            found.append(b64decode(answer["message"].get("data", "")))
            sequence = answer["message"]["seq"] + 1

    async def letters(self, name: str) -> list[DeadLetter]:
        """The dead letters of a channel, or of dispatch."""
        return [DeadLetter.FromString(raw) for raw in await self.stored("DEAD", subjects.dead(name))]
