"""The disk of NATS is full, or what lies on it has changed. Nothing is answered with yes that is not stored, and what
was stored stays."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crown import subjects
from stack.errors import NotReady
from tests.fault.history import Answer, Book, Sent, read
from tests.fault.load import plan
from tests.fault.people import crowd
from tests.fault.power.disk import Disk
from tests.fault.power.rig import Rig, accepted
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(180)

SEED = 1
PEOPLE = crowd(40)
DISK_MB = 192
RATE = 30.0
SENDS = 300
FULL_S = 5.0
# So long a request may have been under way when it became full.
NOTICE_S = 0.5
SENDS_CHANGED = 300


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Not a byte more fits while the block runs."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 4 << 10, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        yield
    finally:
        ballast.unlink()


def told(history: list[Sent], began: float, ended: float) -> set[Answer]:
    """What those heard who asked in that time, but for who asked for nonsense."""
    return {
        one.answer
        for sent in history
        for one in sent.attempts
        if began < one.began and one.ended < ended and "INVALID" not in one.detail
    }


async def test_a_full_disk(tmp_path: Path, results: list[Result]) -> None:
    """NATS writes no more to a stream once it could not, also when there is room again, until it is started anew. It
    says so to who asks after its streams, and nobody hears yes."""
    rig = Rig(tmp_path)
    disk = Disk.fresh(tmp_path / "disk", DISK_MB)
    with disk.mounted(rig.store), rig.api(), Book(tmp_path / "requests.jsonl") as book:
        async with contextlib.AsyncExitStack() as ends:
            with rig.nats() as process:
                load = await ends.enter_async_context(rig.load(book, random.Random(SEED)))
                running = asyncio.create_task(load.run(plan("full", SEED, SENDS, PEOPLE), RATE))
                await load.reached(SENDS // 4)
                with full(rig.store):
                    began = time.time()
                    await asyncio.sleep(FULL_S)
                with pytest.raises(NotReady, match="503"):
                    await rig.probe()
                ended = time.time()
                process.kill()
                process.wait()
            with rig.nats():
                await running
                found = await rig.taken()
    history = read(book.path)
    assert told(history, began + NOTICE_S, ended) <= {Answer.UNKNOWN}
    assert accepted(book) <= found
    recover_s = min(
        one.ended - ended
        for sent in history
        for one in sent.attempts
        if one.answer is Answer.ACCEPTED and one.began > ended
    )
    results.append(
        Result(
            fault="disk of NATS full",
            seed=SEED,
            rate=RATE,
            asked=len(history),
            accepted=len(accepted(book)),
            lost=0,
            recover_s=recover_s,
        )
    )


@pytest.mark.parametrize("how", ["a bit flipped", "a third cut off"])
async def test_a_changed_file(how: str, tmp_path: Path, results: list[Result]) -> None:
    """One server has what it has: it starts on the rest, and takes again."""
    rig = Rig(tmp_path)
    with rig.api(), Book(tmp_path / "requests.jsonl") as book:
        with rig.nats():
            async with rig.load(book, random.Random(SEED)) as load:
                await load.run(plan("before", SEED, SENDS_CHANGED, PEOPLE), 100.0)
        stream = subjects.intake_stream("normal")
        (block,) = rig.store.rglob(f"{stream}/msgs/*.blk")
        content = bytearray(block.read_bytes())
        if how == "a bit flipped":
            content[len(content) // 2] ^= 1
        else:
            del content[-len(content) // 3 :]
        block.write_bytes(content)
        with rig.nats():
            found = await rig.taken()
            with Book(tmp_path / "requests-after.jsonl") as after:
                async with rig.load(after, random.Random(SEED)) as load:
                    await load.run(plan("after", SEED, 20, PEOPLE), 20.0)
            assert accepted(after) <= await rig.taken()
    lost = len(accepted(book) - found)
    assert accepted(after)
    # Of the lane whose file it was; more than half of all go there.
    assert lost <= (1 if how == "a bit flipped" else len(accepted(book)) / 3)
    results.append(
        Result(
            fault=f"file of a stream changed, {how}",
            seed=SEED,
            asked=SENDS_CHANGED,
            accepted=len(accepted(book)),
            lost=lost,
        )
    )
