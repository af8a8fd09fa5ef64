"""A node in a process of its own: `presence_node.py URL FIGURES TOPIC KEY`. It joins, and prints what it is told to
tell, one JSON line each."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import msgspec

from crown.presence import connect
from services.realtime.presence.board import Figures
from services.realtime.presence.board_redis import RedisBoard
from services.realtime.presence.tracker import Tracker


async def publish(topic: str, event: str, payload: dict[str, Any]) -> None:
    """Tells the test."""
    sys.stdout.write(json.dumps([topic, event, payload]) + "\n")
    sys.stdout.flush()


async def main(url: str, told: str, topic: str, key: str) -> None:
    """Runs until it is ended."""
    figures = msgspec.json.decode(told, type=Figures)
    redis = connect(url)
    tracker = Tracker(RedisBoard(redis, figures), publish, figures=figures)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tracker.run())
        tracker.track(topic, key)
        await tracker.register(key, "1")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
