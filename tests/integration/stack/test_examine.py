"""What the doctor sees of servers that lack something."""

from __future__ import annotations

from crown import store, subjects
from stack.commands import examine
from tests.integration.local import Local
from tests.integration.rig import Rig


async def test_a_stream_that_is_gone_is_missed(local: Local, rig: Rig) -> None:
    client = local.bus.client
    assert [one.bad for one in await examine._streams(client)] == [False]
    await local.bus.api(f"STREAM.DELETE.{subjects.intake_stream('bulk')}")
    (found,) = await examine._streams(client)
    assert (found.bad, found.text.split()[0]) == (True, "INTAKE_bulk")
    await local.bus.ensure()


async def test_a_stream_that_is_nearly_full_is_told(local: Local) -> None:
    name = subjects.intake_stream("bulk")
    config = (await local.bus.api(f"STREAM.INFO.{name}"))["config"]
    await local.bus.client.publish(subjects.intake("bulk"), bytes(1_000))
    await local.bus.api(f"STREAM.UPDATE.{name}", {**config, "max_bytes": 1_200})
    (found,) = await examine._streams(local.bus.client)
    assert (found.bad, "full" in found.text) == (True, True)
    await local.bus.api(f"STREAM.PURGE.{name}")
    await local.bus.ensure()


async def test_an_index_that_is_gone_is_missed(local: Local) -> None:
    assert await store.missing_indexes(local.db) == []
    await local.db.ledger.drop_index("wake")
    assert await store.missing_indexes(local.db) == ["ledger.wake"]
