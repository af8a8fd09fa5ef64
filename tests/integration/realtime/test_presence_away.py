"""Presence without a Redis, and one that is killed and started again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crown.errors import NotReady
from crown.presence import Presence, connect
from services.realtime.presence.board_redis import RedisBoard
from tests.integration.realtime.valkey import Valkey
from tests.unit.services.realtime.presence.town import FAST, Node, Wire, until

TOPIC = "group:1"


async def test_all_goes_on_without_redis_and_is_made_whole(tmp_path: Path) -> None:
    server, wire = Valkey(tmp_path), Wire()
    redises = [connect(server.url) for _ in range(3)]
    one, other = (Node(RedisBoard(redis, FAST), wire) for redis in redises[:2])
    presence = Presence(redises[2])
    _, ann = await one.join(TOPIC, "ann")
    _, bob = await other.join(TOPIC, "bob")
    assert await one.tracker.register("ann", "1") == 1
    assert await other.tracker.register("ann", "2") == 1
    await until(lambda: "bob" in ann.state)  # told, though nothing can be written
    with pytest.raises(NotReady):
        await presence.of_people(["ann"])
    with pytest.raises(NotReady):
        await presence.of_topic(TOPIC)
    for _ in range(2):
        await server.start()
        await until(lambda: set(ann.state) == set(bob.state) == {"ann", "bob"} and ann.refs() == bob.refs())
        async with asyncio.timeout(10):
            await whole(presence)
        await server.kill()
        await asyncio.sleep(0.2)
    await asyncio.gather(one.close(), other.close())  # without Redis it ends as well
    for redis in redises:
        await redis.aclose()
    await server.close()


async def whole(presence: Presence) -> None:
    """Returns when Redis knows both people and both sockets."""
    while True:
        try:
            people = await presence.of_people(["ann"])
            if people["ann"].sockets == 2 and (await presence.of_topic(TOPIC)).count == 2:
                return
        except NotReady:
            pass
        await asyncio.sleep(0.05)
