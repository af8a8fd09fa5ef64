"""What senders and health checks are told while servers of a NATS cluster are away: one is told to go, as an upgrade
tells one after the other, and two are lost."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from crown import subjects
from services.ingest.intake.commit import GroupCommit
from tests.integration import cluster
from tests.integration.rig import Rig, until

LANE = "normal"
# Seconds from one request to the next: less than a stream is without a leader.
STEP_S = 0.005
# Before and after.
LEAD_S = 0.5
# Until those who are left have noticed, and two looks.
NOTICED_S = 12.0


async def test_nobody_is_refused_when_the_server_that_leads_is_told_to_go(rig: Rig, tmp_path: Path) -> None:
    puts: list[asyncio.Task[None]] = []

    async with cluster.opened(tmp_path) as servers, cluster.connected(servers.settings(rig)) as bus:
        group = GroupCommit(bus, subjects.intake(LANE))

        async def load() -> None:
            while True:
                puts.append(asyncio.create_task(group.put([str(len(puts)).encode()])))
                await asyncio.sleep(STEP_S)

        loading = asyncio.create_task(load())
        await asyncio.sleep(LEAD_S)
        await servers.told_to_go(await cluster.leader(bus, subjects.intake_stream(LANE)))
        await asyncio.sleep(LEAD_S)
        loading.cancel()
        told = await asyncio.gather(*puts, return_exceptions=True)
        assert [one for one in told if one is not None] == []
        found = await bus.api(f"STREAM.INFO.{subjects.intake_stream(LANE)}")
        assert found["state"]["messages"] >= len(puts) > 2 * LEAD_S / STEP_S / 4


async def test_a_stream_that_no_majority_has_takes_nothing(rig: Rig, tmp_path: Path) -> None:
    stream = subjects.intake_stream(LANE)
    async with cluster.opened(tmp_path) as servers, cluster.connected(servers.settings(rig)) as bus:
        assert await bus.takes(stream)
        lost = range(1, cluster.SERVERS)
        for number in lost:
            await servers.kill(number)
        # One is left, and the link to it stands.
        await until(bus.healthy, bool, cluster.LIMIT_S)
        began = time.monotonic()
        await until(partial(bus.takes, stream), lambda found: not found, cluster.LIMIT_S)
        assert time.monotonic() - began < NOTICED_S
        assert bus.connected
        for number in lost:
            await servers.start(number)
        await until(partial(bus.takes, stream), bool, cluster.LIMIT_S)
