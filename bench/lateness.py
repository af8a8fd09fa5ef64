"""How late what waits for its time is: a thousand notifications with the same `send_at`, and a hundred thousand
deliveries that are due at one instant, as at nine in the morning of a time zone. The latter's rows are put into the
store as dispatch writes them; what has to be reached is ours to choose, so that nothing stands beside it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from bench.child import BenchError
from bench.site import SENDER, Site
from bench.table import Figure
from crown import ids, vault
from crown.clock import now, timestamp
from crown.ledger import row_id, rows_of
from crown.notification.v1 import ingest_service_pb2_grpc as ingest_grpc
from crown.notification.v1.events_pb2 import NotificationContent
from crown.notification.v1.ingest_service_pb2 import SendBulkNotificationsRequest, SendNotificationRequest
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, Priority
from crown.vault import Key
from stack.secrets import read

SCHEDULED = 1_000
P99_MOST_S = 1.5
# The last of them is released within this time.
DEFERRED, QUICK_DEFERRED = 100_000, 10_000
RELEASED_MOST_S = 20.0
_AHEAD = timedelta(seconds=8)
_BATCH = 5_000
_STEP_S = 0.05
_LIMIT_S = 120.0
_CHANNELS = (Channel.IN_APP, Channel.PUSH)


async def measure(site: Site) -> list[Figure]:
    """Both of them."""
    async with _store(site) as db:
        return [await _scheduled(site, db), await _deferred(site, db)]


async def _scheduled(site: Site, db: AsyncDatabase[dict[str, Any]]) -> Figure:
    due = now() + _AHEAD
    requests = [
        SendNotificationRequest(
            type=Channel.IN_APP,
            user_id=f"later-{number}",
            data=NotificationData(title="Now"),
            send_at=timestamp(due),
        )
        for number in range(SCHEDULED)
    ]
    async with grpc.aio.insecure_channel(site.stack.address("ingest-api")) as channel:
        answer = await ingest_grpc.IngestServiceStub(channel).SendBulkNotifications(
            SendBulkNotificationsRequest(notifications=requests), metadata=(site.bearer(),), timeout=20
        )
    found = [result.notification_id for result in answer.results if result.notification_id]
    if len(found) != SCHEDULED or now() > due - timedelta(seconds=2):
        raise BenchError("accepting them took too long")
    await _until(db, {"notification_id": {"$in": found}}, SCHEDULED)
    whole_s = (now() - due).total_seconds()
    rows = db.ledger.find({"notification_id": {"$in": found}}, {"decide_time": 1})
    late = sorted([(row["decide_time"] - due).total_seconds() async for row in rows])
    p99 = late[math.ceil(len(late) * 0.99) - 1]
    return Figure(
        f"send_at, {SCHEDULED:,} due at once: p99 late",
        f"{p99:.2f} s",
        reach=f"< {P99_MOST_S} s",
        reached=p99 < P99_MOST_S,
        note=f"median {late[len(late) // 2]:.2f} s; all rows stood after {whole_s:.2f} s",
    )


async def _deferred(site: Site, db: AsyncDatabase[dict[str, Any]]) -> Figure:
    count = QUICK_DEFERRED if site.quick else DEFERRED
    # Far enough away for all rows to stand before.
    due = now() + timedelta(seconds=10 + count / 5_000)
    notification_id = await _fill(site, db, count, due)
    if now() > due - timedelta(seconds=1):
        raise BenchError("putting the rows into the store took too long")
    await _none_waits(db)
    taken_s = (now() - due).total_seconds()
    await _until(db, {**rows_of(notification_id), "open": "push"}, count)
    first = await db.ledger.find_one(rows_of(notification_id), sort=[("deliveries.push.reopen_time", 1)])
    assert first is not None
    first_s = (first["deliveries"]["push"]["reopen_time"] - due).total_seconds()
    return Figure(
        f"deferred, {count:,} due at once: the last late",
        f"{taken_s:.1f} s",
        reach=f"≤ {RELEASED_MOST_S:.0f} s",
        reached=taken_s <= RELEASED_MOST_S,
        note=f"inbox and push, {count / taken_s:,.0f} rows/s; the first {first_s:.2f} s late",
    )


async def _until(db: AsyncDatabase[dict[str, Any]], where: dict[str, Any], count: int) -> None:
    limit = time.monotonic() + _LIMIT_S
    while (found := await db.ledger.count_documents(where)) < count:
        if time.monotonic() > limit:
            raise BenchError(f"after {_LIMIT_S:g} s {found:,} of {count:,}")
        await asyncio.sleep(_STEP_S)


async def _none_waits(db: AsyncDatabase[dict[str, Any]]) -> None:
    """Returns when nothing is deferred; asks so that it costs the store next to nothing."""
    limit = time.monotonic() + _LIMIT_S
    wakes = {"lane": Priority.NORMAL, "wake_time": {"$gt": now() - timedelta(days=1)}}
    while await db.ledger.find_one(wakes, {"_id": 1}, hint="wake"):
        if time.monotonic() > limit:
            raise BenchError(f"after {_LIMIT_S:g} s some still wait")
        await asyncio.sleep(5 * _STEP_S)


async def _fill(site: Site, db: AsyncDatabase[dict[str, Any]], count: int, due: datetime) -> str:
    """A notification and its rows, and a key for each person; the same one, which nobody reads here."""
    notification_id = ids.fresh_notification()
    data_key = vault.data_key(read(Path(site.stack.environment("operator")["CROWN_DATA_KEY_FILE"])))
    content_key, person_key = Key.fresh(), Key.fresh()
    content = NotificationContent(data=NotificationData(title="Good morning").SerializeToString())
    present = now()
    await db.notifications.insert_one(
        {
            "_id": notification_id,
            "sender": SENDER,
            "kind": "",
            "category": Category.SYSTEM,
            "priority": Priority.NORMAL,
            "channels": list(_CHANNELS),
            "create_time": present,
            "expire_time": None,
            "recipient_count": count,
            "request_hash": b"",
            "content": content_key.seal(content.SerializeToString()),
        }
    )
    people = [f"early-{number}" for number in range(count)]
    wrapped = data_key.wrap(person_key)
    form = {
        "notification_id": notification_id,
        "create_time": present,
        "decide_time": present,
        "expire_time": None,
        "kind": "",
        "category": Category.SYSTEM,
        "lane": Priority.NORMAL,
        "sender": SENDER,
        "channels": list(_CHANNELS),
        "wrapped_key": person_key.wrap(content_key),
        "open": [],
        "hidden": True,
        "wake_time": due,
    }
    for part in _parts(people):
        await db.people.insert_many([{"_id": person, "key": wrapped} for person in part], ordered=False)
        rows = [
            {
                "_id": row_id(notification_id, person),
                "user_id": person,
                **form,
                "deliveries": _deliveries(notification_id, person, due, present),
            }
            for person in part
        ]
        await db.ledger.insert_many(rows, ordered=False)
    return notification_id


def _deliveries(notification_id: str, user_id: str, due: datetime, present: datetime) -> dict[str, Any]:
    return {
        channel: {
            "id": ids.delivery(notification_id, user_id, channel),
            "state": DeliveryState.DEFERRED,
            "reason": "LOCAL_TIME",
            "update_time": present,
            "decided": DeliveryState.DEFERRED,
            "due_time": due,
            "decided_due_time": due,
            "decided_reason": "LOCAL_TIME",
        }
        for channel in ("in_app", "push")
    }


def _parts(people: Sequence[str]) -> Iterator[list[str]]:
    pending = iter(people)
    while part := list(islice(pending, _BATCH)):
        yield part


@asynccontextmanager
async def _store(site: Site) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    url = read(Path(site.stack.environment("operator")["DATABASE_URL_FILE"]))
    async with AsyncMongoClient[dict[str, Any]](url, tz_aware=True) as mongo:
        yield mongo.get_default_database("crown")
