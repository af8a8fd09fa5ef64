"""`python -m services.ingest prepare`: streams, consumers and indexes, as often as one likes."""

from __future__ import annotations

from crown import subjects
from crown.store import _INDEXES
from services.ingest.prepare import consumers
from tests.integration.local import Local
from tests.integration.rig import Rig


async def _run(rig: Rig, **given: str) -> tuple[int, str]:
    async with rig.started(["-m", "services.ingest", "prepare"], "prepare", **given) as service:
        return await service.ended(), service.log()


async def test_it_makes_all_and_again_changes_nothing(rig: Rig) -> None:
    await rig.empty()
    for _ in range(2):
        status, said = await _run(rig)
        assert status == 0, said
    assert "stream_changed" not in said
    local = await Local.connect(rig)
    try:
        for one in consumers():
            assert (await local.bus.api(f"CONSUMER.INFO.{one.stream}.{one.name}"))["name"] == one.name
        for stream in subjects.streams(1 << 30):
            assert (await local.bus.api(f"STREAM.INFO.{stream['name']}"))["config"]["num_replicas"] == 1
        for collection, indexes in _INDEXES.items():
            found = await local.db[collection].index_information()
            assert {index.document["name"] for index in indexes} <= found.keys()
    finally:
        await local.close()


async def test_more_servers_than_there_are_is_told(rig: Rig) -> None:
    await rig.empty()
    status, said = await _run(rig, CROWN_STREAM_REPLICAS="3")
    assert status == 1
    assert "JetStream refuses: replicas > 1 not supported in non-clustered mode" in said
