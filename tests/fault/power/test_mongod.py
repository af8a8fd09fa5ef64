"""The power goes while dispatch writes the ledger. Every row that the store answered for is there afterwards."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from crown.ledger import row_id
from crown.store import Document, Store
from stack.control import Stack
from tests.fault import bus
from tests.fault.power.disk import Disk

pytestmark = pytest.mark.timeout(90)

PORT_BASE = 21200
DISK_MB = 2_048
WRITERS = 8
ROWS_A_WRITE = 20
CUT_AFTER_S = (1.0, 3.0)
# Fewer would say little.
WRITTEN_LEAST = 500
START_LIMIT_S = 20.0


async def test_what_the_ledger_took_survives_a_power_loss(tmp_path: Path) -> None:
    chance = random.Random(4)
    stack = Stack(PORT_BASE, home=tmp_path, only=["mongod"])
    disk = Disk.fresh(tmp_path / "disk", DISK_MB)
    folder = stack.layout.data("mongod")
    written: set[str] = set()
    numbers = count()
    with disk.mounted(folder), stack:
        async with _connect(stack) as client:
            enough = asyncio.Event()
            ledger = Store(client).db.ledger
            writers = [asyncio.create_task(_write(ledger, numbers, written, enough)) for _ in range(WRITERS)]
            async with asyncio.timeout(START_LIMIT_S):
                await enough.wait()
            await asyncio.sleep(chance.uniform(*CUT_AFTER_S))
            stack.kill("mongod", signal.SIGSTOP)
            copy = await asyncio.to_thread(disk.after_power_loss, tmp_path / "disk-after")
            for writer in writers:
                writer.cancel()
            ended = await asyncio.gather(*writers, return_exceptions=True)
            stack.kill("mongod", signal.SIGCONT)
    with copy.mounted(folder), stack:
        async with _connect(stack) as client:
            found = {row["_id"] async for row in Store(client).db.ledger.find({}, {"_id": 1})}
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    assert written <= found, f"{len(written)} written, {len(written - found)} of them lost"


def _connect(stack: Stack) -> AsyncMongoClient[Document]:
    return AsyncMongoClient(bus.secret(stack.environment("operator"), "DATABASE_URL"), tz_aware=True)


async def _write(
    ledger: AsyncCollection[Document], numbers: Iterator[int], written: set[str], enough: asyncio.Event
) -> None:
    """Inserts rows as dispatch does, and notes those that were answered for."""
    while True:
        ids = [row_id(f"{next(numbers):036}", "ann") for _ in range(ROWS_A_WRITE)]
        moment = datetime.now(UTC)
        rows: list[Document] = [
            {"_id": one, "user_id": "ann", "create_time": moment, "deliveries": {}} for one in ids
        ]
        await ledger.insert_many(rows, ordered=False)
        written.update(ids)
        if len(written) >= WRITTEN_LEAST:
            enough.set()
