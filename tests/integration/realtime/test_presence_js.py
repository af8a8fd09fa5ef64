"""The official Presence of phoenix.js makes of our events what the clients of the other tests do, and shows who is
there."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from services.realtime.presence.board_memory import MemoryBoard, World
from tests.integration.realtime.scripts import FOLDER, install
from tests.unit.services.realtime.presence.town import FAST, Client, Node, Wire, until

Events = list[tuple[str, Any]]
KEYS = ("ann", "bob", "__proto__", "constructor", "1", "ä")


@pytest.fixture(scope="module", autouse=True)
async def _packages() -> None:
    await install()


async def official(heard: list[Events]) -> list[dict[str, Any]]:
    """The states that phoenix.js has after each list of events."""
    process = await asyncio.create_subprocess_exec(
        "node",
        "presence.js",
        cwd=FOLDER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    lines = "".join(json.dumps(events) + "\n" for events in heard)
    async with asyncio.timeout(30):
        said, _ = await process.communicate(lines.encode())
    return [dict(json.loads(line)) for line in said.splitlines()]


def some_events(chance: random.Random) -> Events:
    """States and diffs in any order, about a few phx_refs."""

    def side() -> dict[str, Any]:
        keys = chance.sample(KEYS, chance.randint(0, 3))
        return {key: {"metas": [{"phx_ref": f"{key}{chance.randint(1, 3)}"}]} for key in keys}

    return [
        ("presence_state", side())
        if chance.random() < 0.2
        else ("presence_diff", {"joins": side(), "leaves": side()})
        for _ in range(chance.randint(1, 12))
    ]


async def test_our_client_is_like_the_official_one() -> None:
    chance = random.Random(7)
    heard = [some_events(chance) for _ in range(300)]
    for events, state in zip(heard, await official(heard), strict=True):
        client = Client()
        for event, payload in events:
            client.hear(event, payload)
        assert state == client.state, events


async def test_the_official_client_shows_who_is_there() -> None:
    chance = random.Random(8)
    world, wire = World(FAST), Wire(delay_s=0.003)
    nodes = [Node(MemoryBoard(world), wire, replace(FAST, crowd=100, crowd_ends=90)) for _ in range(2)]
    there: list[tuple[Node, str, Client]] = []
    for _ in range(60):
        node = chance.choice(nodes)
        if there and chance.random() < 0.4:
            node, handle, _ = there.pop(chance.randrange(len(there)))
            node.leave("group:1", handle)
        elif there and chance.random() < 0.3:
            node, handle, _ = chance.choice(there)
            node.tracker.update("group:1", handle, {"away": True})
        else:
            there.append((node, *await node.join("group:1", chance.choice(KEYS))))
        await asyncio.sleep(chance.choice((0, 0.01)))
    clients = [client for _, _, client in there]
    await until(lambda: all(client.refs() == clients[0].refs() for client in clients))
    assert len(clients[0].refs()) == len(there)
    for state in await official([client.events for client in clients]):
        assert {meta["phx_ref"] for metas in state.values() for meta in metas} == clients[0].refs()
    for node in nodes:
        await node.close()
