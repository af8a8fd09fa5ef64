"""MongoDB: the connection, and every collection with its indexes. What is written is on the disk of a
majority before it counts.

| collection    | one document a …             | _id                          |
| ------------- | ---------------------------- | ---------------------------- |
| notifications | notification                 | notification id              |
| ledger        | notification and person      | notification id / user id    |
| threads       | what one entry of a person   | user / sender / group hash   |
|               | collects while it is unread  |                              |
| claims        | attempt of a delivery        | delivery id : number         |
| webhooks      | word to a sender             | its delivery id              |
| timeline      | outcome of an attempt        | delivery id : number : state |
|               | or word of a provider        | callback : callback id       |
| direct        | direct send                  | delivery id                  |
| people        | person: their key, wrapped   | user id                      |
| contacts      | person                       | user id                      |
| devices       | installation of the app      | device id                    |
| preferences   | person                       | user id                      |
| erasures      | person who was erased        | keyed hash                   |
| groups        | group or chat                | group id                     |
| members       | person in a group            | group id / user id           |
| templates     | stored e-mail template       | its name                     |
| template_versions | version of such a one    | its name : version           |
| suppressions  | address that gets nothing    | keyed hash                   |
| digests       | digest that was built        | what its items carry         |
| dead_letters  | delivery that was given up   | delivery id : number         |
|               | or message nobody could read | stream : sequence            |
| schedules     | schedule                     | schedule id                  |
| replays       | replay of many dead letters  | replay id                    |
| broadcasts    | notification to everybody    | notification id              |
| broadcast_marks | broadcast that a person marked | user id / notification id |
|               | or what they marked as a whole | user id                    |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.write_concern import WriteConcern

from crown.errors import StoreUnavailable
from crown.settings import Settings

Document = dict[str, Any]
Database = AsyncDatabase[Document]

_DAY_S = 86_400
_PING_LIMIT_S = 2.0
_DUPLICATE = 11_000
# Longer than a notification can be scheduled ahead.
ERASURES_KEPT_S = 400 * _DAY_S
# Longer than any notification is kept.
LETTERS_KEPT_S = 400 * _DAY_S
_INDEXES: Mapping[str, list[IndexModel]] = {
    "notifications": [
        # Those alone whose senders want to hear what becomes of them.
        IndexModel(
            [("_id", ASCENDING), ("webhook_url", ASCENDING)],
            name="webhook",
            partialFilterExpression={"webhook_url": {"$exists": True}},
        ),
        # What is old enough to go, and what was accepted in a stretch of time.
        IndexModel([("category", ASCENDING), ("create_time", ASCENDING)], name="age"),
        IndexModel(
            [("_id", ASCENDING), ("cancel_time", ASCENDING)],
            name="cancelled",
            partialFilterExpression={"cancel_time": {"$exists": True}},
        ),
    ],
    "ledger": [
        # A person's entries. Rows are in the inbox where nothing else is said: `shelf` and `hidden` are missing,
        # which is a place in the index, too, so that what is put away makes no list slower.
        IndexModel(
            [
                ("user_id", ASCENDING),
                ("shelf", ASCENDING),
                ("hidden", ASCENDING),
                ("create_time", DESCENDING),
                ("_id", DESCENDING),
                # Last, to be looked at without reading the row.
                ("category", ASCENDING),
            ],
            name="entries",
        ),
        # Only rows about something, of which there may be many, have places in the next three.
        IndexModel(
            [
                ("user_id", ASCENDING),
                ("group", ASCENDING),
                ("shelf", ASCENDING),
                ("hidden", ASCENDING),
                ("create_time", DESCENDING),
                ("_id", DESCENDING),
            ],
            name="group",
            partialFilterExpression={"group": {"$exists": True}},
        ),
        IndexModel(
            [
                ("thread", ASCENDING),
                ("unread", ASCENDING),
                ("create_time", DESCENDING),
                ("_id", DESCENDING),
            ],
            name="thread",
            partialFilterExpression={"thread": {"$exists": True}},
        ),
        IndexModel(
            [("thread", ASCENDING), ("actor", ASCENDING)],
            name="actors",
            partialFilterExpression={"thread": {"$exists": True}},
        ),
        # `open` lists the channels whose delivery is not final: what the sweeper looks at.
        IndexModel([("open", ASCENDING), ("lane", ASCENDING), ("create_time", ASCENDING)], name="open"),
        # `unread` stands in what the app shows and nobody has read. It is in the key, too, so that a count
        # looks at nothing but the index.
        IndexModel(
            [
                ("user_id", ASCENDING),
                ("unread", ASCENDING),
                ("hidden", ASCENDING),
                ("unseen", ASCENDING),
                ("create_time", DESCENDING),
                ("_id", DESCENDING),
            ],
            name="unread_entries",
            partialFilterExpression={"unread": True},
        ),
        # What waits of one person: the items of a digest are found by it.
        IndexModel(
            [("user_id", ASCENDING), ("wake_time", ASCENDING)],
            name="waiting",
            partialFilterExpression={"wake_time": {"$exists": True}},
        ),
        # What is deferred, by when the first of it is due.
        IndexModel(
            [("lane", ASCENDING), ("wake_time", ASCENDING)],
            name="wake",
            partialFilterExpression={"wake_time": {"$exists": True}},
        ),
        # SNS gives nothing back but its own id of a message.
        IndexModel(
            [("deliveries.sms.provider_message_id", ASCENDING)],
            name="sns",
            partialFilterExpression={"deliveries.sms.provider": "sns"},
        ),
    ],
    "webhooks": [
        IndexModel([("open", ASCENDING), ("lane", ASCENDING), ("create_time", ASCENDING)], name="open"),
        # Long after the last attempt.
        IndexModel([("create_time", ASCENDING)], name="old", expireAfterSeconds=30 * _DAY_S),
    ],
    # What nobody has read in a year begins anew.
    "threads": [IndexModel([("time", ASCENDING)], name="old", expireAfterSeconds=366 * _DAY_S)],
    # Long after the ledger has the outcome of the attempt; never a lock that expires.
    "claims": [IndexModel([("time", ASCENDING)], name="old", expireAfterSeconds=30 * _DAY_S)],
    "timeline": [
        # In the order of the story; a person is found in it without reading the entries of all others.
        IndexModel(
            [
                ("notification_id", ASCENDING),
                ("time", ASCENDING),
                ("_id", ASCENDING),
                ("user_id", ASCENDING),
            ],
            name="story",
        )
    ],
    "direct": [IndexModel([("time", ASCENDING)], name="old", expireAfterSeconds=90 * _DAY_S)],
    "devices": [IndexModel([("user_id", ASCENDING), ("last_seen_time", DESCENDING)], name="person")],
    "groups": [
        IndexModel(
            [("delete_time", ASCENDING)],
            name="deleted",
            partialFilterExpression={"delete_time": {"$exists": True}},
        )
    ],
    "template_versions": [
        IndexModel([("template_id", ASCENDING), ("version", DESCENDING)], name="newest"),
    ],
    "suppressions": [
        IndexModel([("create_time", DESCENDING), ("_id", DESCENDING)], name="newest"),
    ],
    "dead_letters": [
        IndexModel(
            [("state", ASCENDING), ("create_time", DESCENDING), ("_id", DESCENDING)],
            name="newest",
        ),
        IndexModel(
            [
                ("state", ASCENDING),
                ("channel", ASCENDING),
                ("reason", ASCENDING),
                ("create_time", DESCENDING),
                ("_id", DESCENDING),
            ],
            name="kind_of_failure",
        ),
        IndexModel([("user_id", ASCENDING), ("create_time", DESCENDING)], name="person"),
        IndexModel([("notification_id", ASCENDING)], name="notification"),
        IndexModel([("delivery_id", ASCENDING)], name="delivery"),
        IndexModel(
            [("replay_id", ASCENDING), ("state", ASCENDING)],
            name="replay",
            partialFilterExpression={"replay_id": {"$exists": True}},
        ),
        # Longer than what they are about.
        IndexModel([("create_time", ASCENDING)], name="old", expireAfterSeconds=LETTERS_KEPT_S),
    ],
    # Long after its items were told that they went out in it.
    "digests": [
        IndexModel([("create_time", ASCENDING)], name="old", expireAfterSeconds=30 * _DAY_S),
        IndexModel([("user_id", ASCENDING)], name="person"),
    ],
    "replays": [
        IndexModel([("state", ASCENDING), ("create_time", ASCENDING)], name="state"),
        IndexModel([("create_time", ASCENDING)], name="old", expireAfterSeconds=LETTERS_KEPT_S),
    ],
    "broadcasts": [
        IndexModel([("number", DESCENDING)], name="newest", unique=True),
        # One of two that are written at once has to look again which is the one before it.
        IndexModel([("after", ASCENDING)], name="after", unique=True),
        IndexModel([("retire_time", ASCENDING)], name="old", expireAfterSeconds=0),
    ],
    "broadcast_marks": [
        IndexModel([("user_id", ASCENDING)], name="person"),
        # With the broadcast itself; what was marked as a whole has no such field and stays.
        IndexModel([("retire_time", ASCENDING)], name="old", expireAfterSeconds=0),
    ],
    "schedules": [
        IndexModel(
            [("next_time", ASCENDING)],
            name="due",
            partialFilterExpression={"next_time": {"$exists": True}},
        ),
        IndexModel([("sender", ASCENDING), ("_id", ASCENDING)], name="sender"),
        # Whom it names; those from before there were such hashes are found as None.
        IndexModel([("people", ASCENDING)], name="people"),
    ],
    "members": [
        IndexModel([("group_id", ASCENDING), ("user_id", ASCENDING)], name="group"),
        IndexModel([("user_id", ASCENDING)], name="person"),
    ],
    "erasures": [
        IndexModel(
            [("next_time", ASCENDING)],
            name="left",
            partialFilterExpression={"next_time": {"$exists": True}},
        ),
        # After everything that was accepted before has been sent or has expired.
        IndexModel([("time", ASCENDING)], name="old", expireAfterSeconds=ERASURES_KEPT_S),
    ],
}

# The collections that have indexes besides that of their ids.
INDEXED = tuple(_INDEXES)


class Store:
    """A connection to MongoDB. `db` is the database that the address names, or `crown`."""

    def __init__(self, client: AsyncMongoClient[Document]) -> None:
        self._client = client
        self.db: Database = client.get_default_database("crown").with_options(
            write_concern=WriteConcern(w="majority", j=True, wtimeout=5_000)
        )

    @classmethod
    def open(cls, settings: Settings, name: str) -> Store:
        """A store that connects when it is first asked something."""
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            settings.database_url.get_secret_value(),
            appname=name,
            tz_aware=True,
            uuidRepresentation="standard",
            serverSelectionTimeoutMS=2_000,
            connectTimeoutMS=2_000,
            socketTimeoutMS=15_000,
            maxPoolSize=20,
            retryWrites=True,
        )
        return cls(client)

    @classmethod
    async def connect(cls, settings: Settings, name: str) -> Store:
        """Connects, and makes the indexes where the user may; else `prepare` has. Raises StoreUnavailable."""
        store = cls.open(settings, name)
        try:
            if await _may_make_indexes(store.db):
                for collection, indexes in _INDEXES.items():
                    await store.db[collection].create_indexes(indexes)
        except PyMongoError as error:
            await store.close()
            raise StoreUnavailable(
                f"cannot connect to MongoDB, which DATABASE_URL names ({type(error).__name__})"
            ) from error
        return store

    async def healthy(self) -> bool:
        """True where the store answers, and soon."""
        try:
            async with asyncio.timeout(_PING_LIMIT_S):
                await self.db.command("ping")
        except (PyMongoError, TimeoutError):
            return False
        return True

    async def together(self, work: Callable[[AsyncClientSession], Awaitable[None]]) -> None:
        """Does `work`, which hands its session to each call, wholly or not at all. It may be called several times."""
        async with self._client.start_session() as session:
            await session.with_transaction(work)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


async def _may_make_indexes(db: Database) -> bool:
    """True also where MongoDB asks nobody who they are."""
    told = (await db.command("connectionStatus", showPrivileges=True))["authInfo"]
    privileges = told["authenticatedUserPrivileges"]
    return not told["authenticatedUsers"] or any("createIndex" in one["actions"] for one in privileges)


def collections() -> dict[str, int | None]:
    """Every collection that has indexes, and the seconds after which what stands in it goes by itself; None where it
    does not."""
    return {
        name: next(
            (i.document["expireAfterSeconds"] for i in found if "expireAfterSeconds" in i.document), None
        )
        for name, found in _INDEXES.items()
    }


async def missing_indexes(db: Database) -> list[str]:
    """Indexes that the store lacks, each as collection.name; who connects makes them. Raises PyMongoError."""
    missing = []
    for collection, indexes in _INDEXES.items():
        there = await db[collection].index_information()
        missing += [
            f"{collection}.{name}" for index in indexes if (name := index.document["name"]) not in there
        ]
    return missing


async def insert_new(collection: AsyncCollection[Document], documents: Sequence[Document]) -> set[str]:
    """Inserts those whose _id is not there yet, and answers the ids of the others; no two of `documents` may
    have the same. Raises PyMongoError."""
    if not documents:
        return set()
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        details = error.details or {}
        problems = details.get("writeErrors", [])
        if details.get("writeConcernErrors") or any(problem["code"] != _DUPLICATE for problem in problems):
            raise
        return {documents[problem["index"]]["_id"] for problem in problems}
    return set()
