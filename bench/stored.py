"""What a notification leaves on disks of MongoDB and NATS, in bytes for each; docs/capacity.md reckons with it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
from nats.aio.client import Client as Nats
from pymongo import AsyncMongoClient

from bench.child import BenchError
from bench.people import metadata, person, register
from bench.site import Site
from bench.table import Figure
from crown import subjects
from crown.client.draft import draft
from crown.notification.v1 import ingest_service_pb2_grpc as ingest_grpc
from crown.notification.v1.ingest_service_pb2 import SendBulkNotificationsRequest, SendNotificationRequest
from stack.secrets import read

# To many at once, and to one each with words of its own.
CROWDS, A_CROWD = 20, 1_000
SINGLES, PEOPLE = 3_000, 100
_A_CALL = 100
_LIMIT_S = 120.0
_WORDS = "the quick person wrote about your photo from yesterday and it looks like winter in town"


async def measure(site: Site) -> list[Figure]:
    """The collections and streams that grow with what is sent."""
    await register(site, PEOPLE)
    async with (
        AsyncMongoClient[dict[str, Any]](
            read(Path(site.stack.environment("operator")["DATABASE_URL_FILE"]))
        ) as mongo,
        grpc.aio.insecure_channel(site.stack.address("ingest-api")) as channel,
    ):
        db = mongo.get_default_database()
        await _send(ingest_grpc.IngestServiceStub(channel), metadata(site))

        async def delivered() -> bool:
            rows = await db.ledger.count_documents({})
            return rows >= CROWDS * A_CROWD + SINGLES and await db.timeline.count_documents({}) >= SINGLES

        await _until(delivered)
        # Sizes are those of the last checkpoint.
        await mongo.admin.command("fsync")
        figures = [await _collection(db, name) for name in _COLLECTIONS]
    return figures + await _streams(site)


_COLLECTIONS = {
    "ledger": "a row: a notification and a person",
    "notifications": "a notification",
    "claims": "an attempt's claim",
    "timeline": "an outcome in the timeline",
    "people": "a person's key",
}
_STREAMS = {subjects.REALTIME: "a live event", subjects.EVENT: "an outcome on the bus"}


async def _collection(db: Any, name: str) -> Figure:
    found = await db.command("collStats", name)
    count = found["count"]
    return Figure(
        f"{_COLLECTIONS[name]} ({name})",
        f"{found['storageSize'] / count:.0f} B and {found['totalIndexSize'] / count:.0f} B of indexes",
        f"{found['avgObjSize']:.0f} B before compression",
        note=f"of {count:,}",
    )


async def _streams(site: Site) -> list[Figure]:
    given, nats = site.nats(), Nats()
    await nats.connect(given["url"], user=given["user"], password=given["password"])
    try:
        figures = []
        for name, title in _STREAMS.items():
            state = msgspec.json.decode((await nats.request(f"$JS.API.STREAM.INFO.{name}")).data)["state"]
            each = state["bytes"] / state["messages"]
            figures.append(Figure(f"{title} ({name})", f"{each:.0f} B", note=f"of {state['messages']:,}"))
        return figures
    finally:
        await nats.close()


async def _send(ingest: ingest_grpc.IngestServiceAsyncStub, told: tuple[tuple[str, str], ...]) -> None:
    chance = random.Random(1)
    crowds = [
        draft(
            kind="comment", channels=["in_app", "real_time"], title=_text(chance, 5), message=_text(chance, 15),
            user_ids=[f"stored{crowd}x{number}" for number in range(A_CROWD)],
        )
        for crowd in range(CROWDS)
    ]  # fmt: skip
    singles = [
        draft(
            kind="comment", channels=["in_app", "real_time", "push"], title=_text(chance, 5),
            message=_text(chance, 15), user_id=person(number % PEOPLE),
        )
        for number in range(SINGLES)
    ]  # fmt: skip
    for part in (*_parts(crowds, 1), *_parts(singles, _A_CALL)):
        answer = await ingest.SendBulkNotifications(
            SendBulkNotificationsRequest(notifications=part), metadata=told, timeout=_LIMIT_S
        )
        if any(result.HasField("error") for result in answer.results):
            raise BenchError("a notification was refused")


def _parts(drafts: list[SendNotificationRequest], size: int) -> list[list[SendNotificationRequest]]:
    return [drafts[start : start + size] for start in range(0, len(drafts), size)]


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS.split(), k=words))


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    limit = time.monotonic() + _LIMIT_S
    while not await done():
        if time.monotonic() > limit:
            raise BenchError("not everything was delivered in time")
        await asyncio.sleep(0.25)
