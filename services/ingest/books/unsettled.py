"""What consumers have not settled yet, as the bus tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from crown import subjects
from crown.bus import Bus, BusError

_NO_MESSAGE = 10037
_NO_CONSUMER = 10014


async def oldest(bus: Bus, consumer: subjects.Consumer) -> datetime | None:
    """When the oldest message that this consumer has not settled was stored; None where there is none."""
    try:
        settled = await _settled(bus, consumer)
        if settled is None:
            return None
        request = {"seq": settled + 1, "next_by_subj": consumer.subject}
        found: dict[str, Any] = await bus.api(f"STREAM.MSG.GET.{consumer.stream}", request)
    except BusError as error:
        if error.err_code == _NO_MESSAGE:
            return None
        raise
    return datetime.fromisoformat(found["message"]["time"])


async def counts(bus: Bus, consumer: subjects.Consumer) -> tuple[int, int]:
    """How many messages wait for this consumer, and how many it has taken and not settled."""
    try:
        info = await bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
    except BusError as error:
        if error.err_code != _NO_CONSUMER:
            raise
        # Nobody has worked here yet: all that there is waits.
        stream = await bus.api(f"STREAM.INFO.{consumer.stream}", {"subjects_filter": consumer.subject})
        return sum((stream["state"].get("subjects") or {}).values()), 0
    return int(info["num_pending"]), int(info["num_ack_pending"])


async def _settled(bus: Bus, consumer: subjects.Consumer) -> int | None:
    """Up to which sequence all is settled; None where that is everything."""
    try:
        info = await bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
    except BusError as error:
        if error.err_code == _NO_CONSUMER:  # the channel has never worked yet: nothing is
            return 0
        raise
    if not info["num_pending"] and not info["num_ack_pending"]:
        return None
    return int(info["ack_floor"]["stream_seq"])
