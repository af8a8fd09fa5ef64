"""The bus on three NATS servers that are one cluster: each stream stands on all, and one of them may die."""

from __future__ import annotations

from pathlib import Path

import pytest

from crown import subjects
from crown.bus import Outgoing
from crown.errors import BusUnavailable
from tests.integration import cluster
from tests.integration.cluster import LIMIT_S, SERVERS
from tests.integration.rig import Rig, until


async def test_every_stream_outlives_a_server(rig: Rig, tmp_path: Path) -> None:
    async with cluster.opened(tmp_path) as servers, cluster.connected(servers.settings(rig)) as bus:
        for stream in subjects.streams(1):
            config = (await bus.api(f"STREAM.INFO.{stream['name']}"))["config"]
            assert (stream["name"], config["num_replicas"]) == (stream["name"], SERVERS)
        intake = Outgoing(subjects.intake("critical"), b"before")
        await bus.publish(intake)
        await servers.kill(0)

        async def stored() -> int:
            try:
                await bus.publish(Outgoing(intake.subject, b"after"))
                found = await bus.api(f"STREAM.INFO.{subjects.intake_stream('critical')}")
            except BusUnavailable:
                return 0
            return int(found["state"]["messages"])

        assert await until(stored, lambda count: count >= 2, LIMIT_S)


@pytest.mark.parametrize("replicas", ["2", "0", "many"])
def test_other_numbers_are_refused(rig: Rig, replicas: str) -> None:
    with pytest.raises(ValueError, match="CROWN_STREAM_REPLICAS"):
        rig.settings(CROWN_STREAM_REPLICAS=replicas)
