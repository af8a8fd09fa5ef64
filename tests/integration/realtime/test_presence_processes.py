"""Nodes that are processes: killed, and stopped for longer than they are thought to live."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crown.presence import Presence, connect
from services.realtime.presence.board import Figures
from tests.integration.realtime.valkey import Valkey
from tests.unit.services.realtime.presence.town import FAST

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("presence_node.py")
TOPIC = "group:g"


@pytest.fixture(scope="module")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Valkey]:
    """The server of these tests."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    await server.start()
    yield server
    await server.close()


class Process:
    """A node. What it tells is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def told(self, side: str, key: str, within_s: float = 15.0) -> dict[str, Any]:
        """The next diff with `key` on this side: that side."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within_s):
            async for line in self.process.stdout:
                # Its log comes the same way.
                _, event, payload = json.loads(line) if line.startswith(b"[") else ("", "", {})
                if event == "presence_diff" and key in payload[side]:
                    found: dict[str, Any] = payload[side][key]
                    return found
        raise AssertionError("it ended")


@asynccontextmanager
async def running(valkey: Valkey, figures: Figures, key: str) -> AsyncIterator[Process]:
    """A node with one person, who has been told of."""
    told = msgspec.json.encode(figures).decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        valkey.url,
        told,
        TOPIC,
        key,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        node = Process(process)
        await node.told("joins", key)
        yield node
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_people_of_a_killed_process_leave_within_its_time(
    valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the figures of real life."""
    figures = Figures()
    await valkey.operator.flushall()
    redis = connect(valkey.url)
    presence = Presence(redis)
    async with running(valkey, figures, "ann") as one, running(valkey, figures, "bob") as other:
        assert [seen.online for seen in (await presence.of_people(["ann", "bob"])).values()] == [True, True]
        one.process.kill()
        killed = time.monotonic()
        left = await other.told("leaves", "ann")
        took = time.monotonic() - killed
        assert left["metas"][0]["phx_ref"]
        async with asyncio.timeout(3):
            while (await presence.of_people(["ann"]))["ann"].sockets:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.01)
        assert (await presence.of_topic(TOPIC)).count == 1
    await redis.aclose()
    with capsys.disabled():
        sys.stdout.write(f"\nthe people of a killed node left after {took:.1f} s\n")
    assert took <= figures.ttl_s + figures.look_s + 1


async def test_a_process_that_stood_still_for_too_long_comes_back(valkey: Valkey) -> None:
    figures = replace(FAST, ttl_s=0.6)
    await valkey.operator.flushall()
    async with running(valkey, figures, "ann") as one, running(valkey, figures, "bob") as other:
        one.process.send_signal(signal.SIGSTOP)
        left = await other.told("leaves", "ann")
        one.process.send_signal(signal.SIGCONT)
        back = await one.told("joins", "ann")
        assert back["metas"][0]["phx_ref"] != left["metas"][0]["phx_ref"]
        redis = connect(valkey.url)
        presence = Presence(redis)
        async with asyncio.timeout(3):
            while (await presence.of_people(["ann"]))["ann"].sockets != 1:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.01)
        assert (await presence.of_topic(TOPIC)).count == 2
        await redis.aclose()
