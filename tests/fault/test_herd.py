"""The gateway, or the service behind it, is killed with thousands of sockets on it while messages go on: all come
back at once, each says where it was, and nobody misses anything or gets it twice."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bench import signing
from bench.child import Child
from bench.site import Site
from stack.control import Stack
from stack.secrets import read
from stack.settings import LOOPBACK
from tests.fault.suite import Suite
from tests.fault.table import Result
from tests.fault.watch import Watch

pytestmark = pytest.mark.timeout(200)

# Who is killed, with how many sockets. Envoy has two descriptors for each, and a process may have 20,000.
KILLED = {"gateway": 5_000, "realtime": 5_000}
PER_S = 500
SECONDS = 20
BEFORE_S = 2.0
LIMIT_S = 90
BACK_MOST_S = 30.0


@pytest.fixture(scope="module")
def suite() -> Suite:
    # All of them come from a few addresses here.
    given = {"CROWN_CONNECTIONS_PER_ADDRESS": "0"}
    return Suite(29_600, given=given, only=("realtime", "gateway"))


@pytest.mark.parametrize("name", KILLED)
async def test_all_who_are_cut_off_at_once_come_back_with_what_they_missed(
    name: str, stack: Stack, results: list[Result]
) -> None:
    people = [f"{name}{number:05d}" for number in range(KILLED[name])]
    members = [
        (token, f"user:{one}") for token, one in zip(signing.tokens(stack, people), people, strict=True)
    ]
    expect = PER_S * SECONDS
    processes = {one.name: one.restarts for one in stack.status()}
    async with Child("bench.returning") as crowd, Child("bench.publisher") as publisher:
        port = stack.settings.ports.gateway
        await crowd.ask(LIMIT_S, enter=members, host=LOOPBACK, port=port, limit_s=LIMIT_S)
        key = read(Path(stack.environment("realtime")["CROWN_DATA_KEY_FILE"]))
        await publisher.ask(10, open={"nats": Site(stack, True).nats(), "people": people, "data_key": key})
        async with asyncio.TaskGroup() as tasks:
            riding = tasks.create_task(crowd.ask(LIMIT_S + 10, ride=True, expect=expect, limit_s=LIMIT_S))
            tasks.create_task(publisher.ask(LIMIT_S, to="frames", count=expect, per_s=PER_S))
            await asyncio.sleep(BEFORE_S)
            began = time.monotonic()
            pid = stack.kill(name)
            await asyncio.to_thread(stack.wait_healthy, name, pid, LIMIT_S)
            recover_s = time.monotonic() - began
        answer = await riding
    most = Watch.now(stack)["realtime"]
    results.append(
        Result(
            fault=f"kill -9 {name} with {KILLED[name]:,} sockets on it",
            asked=expect,
            accepted=answer["heard"],
            lost=answer["lost"],
            duplicates={"real_time": answer["repeated"]},
            recover_s=recover_s,
            drain_s=answer["away_s"],
            rss_mb=most.rss_mb,
            descriptors=most.descriptors,
        )
    )
    assert answer["away_s"] is not None, "not all came back"
    assert answer["away_s"] <= BACK_MOST_S
    assert answer["lost"] == answer["repeated"] == 0
    # Each was told that it has everything: nobody had to read the inbox.
    assert answer["unrecovered"] == 0
    after = {one.name: one.restarts for one in stack.status()}
    assert {other for other, count in after.items() if count != processes[other]} == {name}
