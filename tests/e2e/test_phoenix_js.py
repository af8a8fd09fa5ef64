"""The official Phoenix client from npm, unchanged, through the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.people import People, data
from tests.e2e.rest import Caller, Rest
from tests.integration.realtime import scripts

LIMIT_S = 30.0


@pytest.fixture(scope="session")
async def packages() -> None:
    """What package-lock.json names."""
    await scripts.install()


@dataclass
class Tour:
    """The script, while it runs."""

    process: asyncio.subprocess.Process
    steps: list[tuple[str, Any]] = field(default_factory=list)

    async def until(self, *ends: str) -> Any:
        """Reads on until one of these steps, and answers what it says."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            async for line in self.process.stdout:
                found = json.loads(line)
                self.steps.append((found["step"], found["data"]))
                if found["step"] in ends:
                    return found["data"]
        raise AssertionError(f"none of {ends} in {self.steps}")


@asynccontextmanager
async def touring(script: str, *arguments: str) -> AsyncIterator[Tour]:
    process = await asyncio.create_subprocess_exec(
        "node", script, *arguments,
        cwd=scripts.FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Tour(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("way", ["params", "subprotocol"])
async def test_what_is_sent_by_rest_arrives(rest: Rest, feed: Caller, people: People, way: str) -> None:
    person = people.stranger()
    assert person.caller.token
    address = f"ws://{rest.address}/socket"
    async with touring("tour.js", address, person.user_id, person.caller.token, way, "2") as tour:
        joined = await tour.until("joined")
        sent = [await feed.send("real_time", user_id=person.user_id, data=data()) for _ in range(2)]
        frames = [await tour.until("notification") for _ in sent]
        await tour.until("close")
        assert await tour.process.wait() == 0, tour.steps
    assert {frame["notification_id"] for frame in frames} == set(sent)
    assert frames[0]["data"]["title"] == data()["title"]
    assert joined["offset"] < frames[0]["offset"] < frames[1]["offset"]
    assert {frame["epoch"] for frame in frames} == {joined["epoch"]}
    said = dict(tour.steps)
    assert said["refused"]["reason"] == "NOT_ALLOWED"
    assert said["heartbeat"]["status"] == "ok"
    assert "intruded" not in said


@pytest.mark.usefixtures("packages")
async def test_without_a_good_token_it_stays_outside(rest: Rest, people: People) -> None:
    person = people.stranger()
    async with touring(
        "tour.js", f"ws://{rest.address}/socket", person.user_id, "no-token", "params"
    ) as tour:
        assert "403" in await tour.until("error")
    assert {step for step, _ in tour.steps} & {"open", "joined", "intruded"} == set()


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("how", ["poll", "fallback"])
async def test_where_no_websocket_gets_through_it_polls(
    rest: Rest, feed: Caller, people: People, how: str
) -> None:
    person = people.stranger()
    assert person.caller.token
    address = f"ws://{rest.address}/socket"
    async with touring("longpoll.js", address, person.user_id, person.caller.token, "authToken", how) as tour:
        await tour.until("joined")
        sent = await feed.send("real_time", user_id=person.user_id, data=data())
        assert (await tour.until("notification"))["notification_id"] == sent
        await tour.until("disconnected")
        assert await tour.process.wait() == 0, tour.steps
    assert [said for step, said in tour.steps if step == "open"] == [{"polls": True}]
