"""Publishes live events at a steady pace, in a process of its own: to the topics of people, or to subjects that
only a bare subscriber hears."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from itertools import cycle, islice

from nats.aio.client import Client

from bench.child import Answer, Cpu, serve
from bench.crowd import BARE
from bench.intake import connect
from bench.sockets import mark
from crown import subjects, vault
from crown.notification.v1.events_pb2 import LiveEvent, NotificationContent
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category

_DATA = NotificationData(
    title="New Message", message="You have a new message from John", action_url="/messages/123"
)


class Publisher:
    """Goes round the people, one message each in turn."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._people: list[str] = []
        self._event = LiveEvent(event="notification", category=Category.ACTIVITY)
        self._numbers: dict[str, int] = {}

    async def handle(self, order: Answer) -> Answer:
        """`open` connects; then `count` messages at `per_s`, to `frames` or to `bare`."""
        if "open" in order:
            await self._open(order["open"])
            return {}
        make = self._live if order["to"] == "frames" else self._bare
        return await self._publish(make, order["count"], order["per_s"])

    async def _open(self, order: Answer) -> None:
        key = vault.Key(base64.b64decode(order["data_key"]))
        content = NotificationContent(data=_DATA.SerializeToString())
        self._event.content.CopyFrom(vault.seal(key, content.SerializeToString()))
        self._people = order["people"]
        self._client = await connect(order["nats"])

    async def _publish(self, make: Callable[[str], tuple[str, bytes]], count: int, per_s: float) -> Answer:
        assert self._client is not None
        cpu, began = Cpu(), time.perf_counter()
        for number, person in enumerate(islice(cycle(self._people), count)):
            ahead = began + number / per_s - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            await self._client.publish(*make(person))
        await self._client.flush()
        return {"per_s": count / (time.perf_counter() - began), "cpu": cpu.share()}

    def _live(self, person: str) -> tuple[str, bytes]:
        number = self._numbers.get(person, 0)
        self._numbers[person] = number + 1
        self._event.user_id, self._event.notification_id = person, mark(number)
        return subjects.live_source(subjects.user_topic(person)), self._event.SerializeToString()

    def _bare(self, person: str) -> tuple[str, bytes]:
        return f"{BARE}.{person}", mark(0).encode()


if __name__ == "__main__":
    serve(Publisher().handle)
