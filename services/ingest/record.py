"""The recorder: what became of deliveries, from the bus into the timeline of each notification."""

from __future__ import annotations

import asyncio

from google.protobuf.message import DecodeError
from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from crown import logs, subjects
from crown.bus import Bus
from crown.clock import moment
from crown.notification.v1.events_pb2 import OutcomeEvent
from crown.pull import Message, Pull, ready
from crown.stopping import wake_when
from crown.store import Store

log = logs.get(__name__)

_A_TURN = 500
_PAUSE_S = 2.0


class Recorder:
    """Writes outcomes down; the same one twice is one."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._timeline = store.db.timeline
        self._wake = asyncio.Event()
        self._pull = Pull(bus, subjects.recorder(), self._wake, 1_000)

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        await self._pull.start()
        waker = asyncio.create_task(wake_when(stopping, self._wake), name="wake")
        try:
            while not stopping.is_set():
                taken = await self._pull.take(_A_TURN)
                if taken:
                    await self._write(taken)
                else:
                    await ready(self._wake, stopping)
        finally:
            waker.cancel()
            await self._pull.stop()

    async def _write(self, messages: list[Message]) -> None:
        updates = [update for message in messages if (update := _update(message)) is not None]
        try:
            if updates:
                await self._timeline.bulk_write(updates, ordered=False)
        except PyMongoError as error:
            log.warning("recorder_waits", error=type(error).__name__)
            for message in messages:
                await message.nak(_PAUSE_S)
            await asyncio.sleep(_PAUSE_S)
            return
        for message in messages:
            await message.ack()


def _update(message: Message) -> UpdateOne | None:
    try:
        event = OutcomeEvent.FromString(message.data)
        occur_time = moment(event.occur_time)
    except (DecodeError, ValueError, OverflowError):
        event = OutcomeEvent()
    if not event.delivery_id:
        # Nobody's delivery hangs on it: the ledger has the state.
        log.warning("outcome_undecodable", sequence=message.sequence)
        return None
    entry = {
        "notification_id": event.notification_id,
        "delivery_id": event.delivery_id,
        "user_id": event.user_id,
        "channel": event.channel,
        "state": event.state,
        "reason": event.reason,
        "attempt": event.attempt,
        "provider": event.provider,
        "provider_message_id": event.provider_message_id,
        "time": occur_time,
    }
    key = f"{event.delivery_id}:{event.attempt}:{event.state}"
    return UpdateOne({"_id": key}, {"$setOnInsert": entry}, upsert=True)
