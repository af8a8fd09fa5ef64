"""The store on a real MongoDB: health, and what is new is written once."""

from __future__ import annotations

import time

import pytest
from pymongo.errors import BulkWriteError

from crown import store as store_module
from crown.errors import StoreUnavailable
from crown.store import Store, insert_new
from tests.integration.local import Local
from tests.integration.rig import Rig, until


async def test_a_store_that_hangs_is_away(local: Local, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await local.store.healthy()
    monkeypatch.setattr(store_module, "_PING_LIMIT_S", 0.3)
    async with rig.suspended("mongod"):
        began = time.monotonic()
        assert not await local.store.healthy()
        assert time.monotonic() - began < 2
    await until(local.store.healthy)


async def test_what_is_written_is_on_the_disk_of_a_majority(local: Local) -> None:
    concern = local.db.write_concern.document
    assert (concern["w"], concern["j"]) == ("majority", True)


async def test_a_second_service_finds_the_indexes(local: Local, rig: Rig) -> None:
    second = await Store.connect(rig.settings(), "second")
    names = {index["name"] async for index in await second.db.ledger.list_indexes()}
    assert {"entries", "open"} <= names
    assert second.db.name == rig.database
    await second.close()


async def test_without_a_store_connecting_ends(rig: Rig) -> None:
    url = "mongodb://me:hunter2@127.0.0.1:9/crown?serverSelectionTimeoutMS=200"
    with pytest.raises(StoreUnavailable) as caught:
        await Store.connect(rig.settings(DATABASE_URL=url), "nobody")
    assert "hunter2" not in str(caught.value)


async def test_only_what_is_new_is_inserted(local: Local) -> None:
    things = local.db.things
    assert await insert_new(things, []) == set()
    assert await insert_new(things, [{"_id": "1", "v": "old"}, {"_id": "2"}]) == set()
    assert await insert_new(things, [{"_id": "1", "v": "new"}, {"_id": "3"}]) == {"1"}
    assert await things.find_one({"_id": "1"}) == {"_id": "1", "v": "old"}
    assert await things.count_documents({}) == 3


async def test_another_trouble_than_a_duplicate_is_told(local: Local) -> None:
    await local.db.things.create_index("v", unique=False)
    with pytest.raises(BulkWriteError):
        # A dollar in the name of an _id's field is refused by the server, not by the driver.
        await insert_new(local.db.things, [{"_id": {"$bad": 1}}, {"_id": "4"}])
