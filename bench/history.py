"""The inbox of somebody with a million entries beside that of somebody with ten thousand: the first page, the last
that has a number, and one behind a cursor in the middle. The rows are put into the store as dispatch writes them;
what they say is not opened, which both would pay for alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.write_concern import WriteConcern

from bench.child import BenchError
from bench.rounds import in_turn, middle, ratio
from bench.site import SENDER, Site
from bench.table import Figure
from crown import ids
from crown.ledger import row_id
from crown.notification.v1 import inbox_service_pb2 as pb
from crown.notification.v1 import inbox_service_pb2_grpc as inbox_grpc
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, Priority
from services.ingest.inbox.cursor import cursor
from stack.secrets import read

RATIO_MOST = 1.2
MANY, FEW = 1_000_000, 10_000
# Enough to tell them apart, where there is no time for a million.
QUICK_MANY = 100_000
_LIMIT = 20
_LAST_PAGE = 500
_BATCH = 5_000
_CALLS = 60
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one person's pages."""

    inbox: inbox_grpc.InboxServiceAsyncStub
    metadata: _Metadata
    user_id: str

    async def page(self, **given: Any) -> pb.ListNotificationsResponse:
        request = pb.ListNotificationsRequest(user_id=self.user_id, limit=_LIMIT, **given)
        answer: pb.ListNotificationsResponse = await self.inbox.ListNotifications(
            request, metadata=self.metadata, timeout=20
        )
        if len(answer.notifications) != _LIMIT:
            raise BenchError(f"a page of {len(answer.notifications)} entries")
        return answer

    async def median_ms(self, **given: Any) -> float:
        """How long one page takes, one call after the other."""
        taken: list[float] = []
        for _ in range(_CALLS):
            began = time.perf_counter()
            await self.page(**given)
            taken.append(time.perf_counter() - began)
        return middle(taken) * 1_000


async def measure(site: Site) -> list[Figure]:
    """Three kinds of pages."""
    count = QUICK_MANY if site.quick else MANY
    async with _open(site) as (db, inbox):
        metadata = (("authorization", f"Bearer {site.stack.token(service=SENDER, scopes=['inbox.read'])}"),)
        await _fill(db, "many", count)
        await _fill(db, "few", FEW)
        many, few = _Reader(inbox, metadata, "many"), _Reader(inbox, metadata, "few")
        kinds: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            ("first page", {}, {}),
            (f"page {_LAST_PAGE}", {"page": _LAST_PAGE}, {"page": _LAST_PAGE}),
            ("by cursor", {"cursor": _middle("many", count)}, {"cursor": _middle("few", FEW)}),
        ]
        figures = []
        for name, of_many, of_few in kinds:
            ours, peer = _side(many, of_many), _side(few, of_few)
            await asyncio.gather(ours(), peer())
            figures.append(_figure(name, count, await in_turn(ours, peer, site.rounds)))
    return figures


def _side(reader: _Reader, given: dict[str, Any]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        return await reader.median_ms(**given)

    return run


def _figure(name: str, count: int, pairs: Sequence[tuple[float, float]]) -> Figure:
    found = ratio(pairs)
    return Figure(
        f"inbox, {name}, {count:,} entries",
        f"{middle([ours for ours, _ in pairs]):.1f} ms",
        f"{middle([peer for _, peer in pairs]):.1f} ms with {FEW:,}",
        f"{found:.2f}",
        f"≤ {RATIO_MOST}",
        found <= RATIO_MOST,
        f"{_LIMIT} a page, the middle of {_CALLS} calls",
    )


@asynccontextmanager
async def _open(
    site: Site,
) -> AsyncIterator[tuple[AsyncDatabase[dict[str, Any]], inbox_grpc.InboxServiceAsyncStub]]:
    url = read(Path(site.stack.environment("operator")["DATABASE_URL_FILE"]))
    async with (
        AsyncMongoClient[dict[str, Any]](url, tz_aware=True) as mongo,
        grpc.aio.insecure_channel(site.stack.address("ingest-api")) as channel,
    ):
        quick = WriteConcern(w=1, j=False)
        yield (
            mongo.get_default_database().with_options(write_concern=quick),
            inbox_grpc.InboxServiceStub(channel),
        )


async def _fill(db: AsyncDatabase[dict[str, Any]], user_id: str, count: int) -> None:
    for start in range(0, count, _BATCH):
        rows = [_row(user_id, number) for number in range(start, min(start + _BATCH, count))]
        await asyncio.gather(
            db.ledger.insert_many(rows, ordered=False),
            db.notifications.insert_many([_notification(row) for row in rows], ordered=False),
        )


def _middle(user_id: str, count: int) -> str:
    """The place after the entry in the middle."""
    return cursor(_row(user_id, count // 2))


def _row(user_id: str, number: int) -> dict[str, Any]:
    moment = _BEGAN + timedelta(seconds=number)
    notification_id = ids.keyed_notification(SENDER, user_id, str(number), 0)
    return {
        "_id": row_id(notification_id, user_id),
        "notification_id": notification_id,
        "user_id": user_id,
        "create_time": moment,
        "decide_time": moment,
        "expire_time": None,
        "kind": "like",
        "category": Category.ACTIVITY,
        "lane": Priority.NORMAL,
        "sender": SENDER,
        "channels": [Channel.IN_APP],
        "wrapped_key": bytes(60),
        "deliveries": {
            "in_app": {
                "id": ids.delivery(notification_id, user_id, "in_app"),
                "state": DeliveryState.DELIVERED,
                "reason": "",
                "update_time": moment,
                "decided": DeliveryState.DELIVERED,
            }
        },
        "open": [],
        # One in ten is unread.
        **({"unread": True, "unseen": True} if number % 10 == 0 else {"read_time": moment}),
    }


def _notification(row: dict[str, Any]) -> dict[str, Any]:
    fields = ("category", "channels", "create_time", "expire_time", "kind", "sender")
    return {"_id": row["notification_id"], **{name: row[name] for name in fields}, "content": bytes(250)}
