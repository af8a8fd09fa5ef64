"""How full streams are and how far consumers are behind, as the bus tells it: told as metrics, all the time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from crown import logs, metrics
from crown.bus import Bus, BusError
from crown.errors import CrownError
from crown.stopping import pause

log = logs.get(__name__)

# Often enough for who watches a backlog grow.
PERIOD_S = 2.0


@dataclass(frozen=True, slots=True)
class Lag:
    """A durable consumer: messages that wait for it, and that it has and has not settled."""

    name: str
    pending: int
    unsettled: int


@dataclass(frozen=True, slots=True)
class Held:
    """A stream: what it holds; `max_bytes` is -1 where it has no bound."""

    name: str
    messages: int
    size_bytes: int
    max_bytes: int
    consumers: tuple[Lag, ...]


async def read(bus: Bus) -> list[Held]:
    """Every stream with its durable consumers. Raises BusError and BusUnavailable."""
    found = []
    for info in await _all(bus, "STREAM.LIST", "streams"):
        name, state = str(info["config"]["name"]), info["state"]
        consumers = await _all(bus, f"CONSUMER.LIST.{name}", "consumers") if state["consumer_count"] else []
        found.append(
            Held(
                name, int(state["messages"]), int(state["bytes"]), int(info["config"]["max_bytes"]),
                tuple(_lag(one) for one in consumers if one["config"].get("durable_name")),
            )
        )  # fmt: skip
    return found


def _lag(info: dict[str, Any]) -> Lag:
    return Lag(str(info["name"]), int(info["num_pending"]), int(info["num_ack_pending"]))


async def _all(bus: Bus, call: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = await bus.api(call, {"offset": len(found)})
        page = answer.get(name) or []
        found += page
        if not page or len(found) >= answer["total"]:
            return found


class LagWatch:
    """Looks every few seconds."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        while not stopping.is_set():
            try:
                tell(await read(self._bus))
            except (BusError, CrownError) as error:
                log.warning("lag_unread", error=type(error).__name__)
            await pause(stopping, PERIOD_S)


def tell(found: list[Held]) -> None:
    """Tells it as metrics."""
    for stream in found:
        metrics.STREAM_MESSAGES.labels(stream.name).set(stream.messages)
        metrics.STREAM_BYTES.labels(stream.name).set(stream.size_bytes)
        metrics.STREAM_MAX_BYTES.labels(stream.name).set(stream.max_bytes)
        for consumer in stream.consumers:
            metrics.CONSUMER_PENDING.labels(stream.name, consumer.name).set(consumer.pending)
            metrics.CONSUMER_UNSETTLED.labels(stream.name, consumer.name).set(consumer.unsettled)
