"""A group of many people, put straight into the store: making it by calls is not what is measured. Its people have
been written to before, so that they have keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from bench.site import Site
from crown import vault
from crown.clock import now
from crown.ledger import rows_of
from crown.vault import Key
from stack.secrets import read

_PART = 10_000

Database = AsyncDatabase[dict[str, Any]]


@asynccontextmanager
async def store(site: Site) -> AsyncIterator[Database]:
    """The store, as the operator sees it."""
    given = site.stack.environment("operator")
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        read(Path(given["DATABASE_URL_FILE"])), tz_aware=True
    )
    try:
        yield client.get_default_database("crown")
    finally:
        await client.close()


def user(group_id: str, number: int) -> str:
    """The id of a member; nobody is in two groups."""
    return f"{group_id}-{number:08d}"


async def fill(site: Site, db: Database, group_id: str, count: int) -> None:
    """Makes the group with `count` members."""
    data_key = vault.data_key(read(Path(site.stack.environment("operator")["CROWN_DATA_KEY_FILE"])))
    moment = now()
    await db.groups.insert_one(
        {"_id": group_id, "kind": "group", "client_events": False, "create_time": moment}
    )
    for start in range(0, count, _PART):
        people = [user(group_id, number) for number in range(start, min(count, start + _PART))]
        members = [
            {"_id": f"{group_id}/{one}", "group_id": group_id, "user_id": one, "join_time": moment}
            for one in people
        ]
        keys = [{"_id": one, "key": data_key.wrap(Key.fresh())} for one in people]
        await asyncio.gather(
            db.members.insert_many(members, ordered=False), db.people.insert_many(keys, ordered=False)
        )


async def rows(db: Database, notification_id: str) -> int:
    """How many people have a row of it."""
    return await db.ledger.count_documents(rows_of(notification_id))
