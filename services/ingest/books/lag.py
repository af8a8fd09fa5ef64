"""How full streams are and how far consumers are behind, as the bus tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crown.bus import Bus


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
