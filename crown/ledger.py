"""The ledger: one row for each notification and person, with the state of every delivery. It is the inbox,
too. Dispatch writes rows, channels change them; a delivery that is final stays as it is.

A row: {_id: "<notification>/<user>", notification_id, user_id, create_time, decide_time, expire_time, kind,
category, lane, channels, wrapped_key, deliveries: {<channel>: {id, state, decided, reason, attempts, claims,
unknowns, provider, provider_message_id, update_time, due_time, done, kills, reopen_time, reopened, open_time,
click_time, digest, unless_read}}, open: [<channel>, …], read_time, seen_time, archive_time, delete_time, unread:
true, unseen: true, shelf, hidden: true, wake_time, released, group, actor, thread, sender, page}. `decided` is the
state that dispatch gave it. `reopened` is the mark of who gave it back last after it was given up. `unread` stands
where the app shows it, until it is read or deleted, and `unseen` beside it until it is seen. `shelf` says where a row
is instead of in the inbox: "archived", "deleted", or "folded" into a newer one of its thread. `hidden` keeps a
row out of the inbox: it is not to be shown yet, or never. `wake_time` is the earliest `due_time` of what is
DEFERRED; such a delivery is not in `open` before it is released. `unless_read` stands in an escalation,
`digest` is the digest that an item waits for: "<user>|<channel>|<category>|<when it goes out>". `group` and
`actor` are hashes, `thread` is the entry that rows of one group share until it is read. `page` is the page of
an audience that the person was listed in, as the number of those before it. `released` is the mark of who
last released what was deferred.

A claim: {_id: "<delivery>:<number>", time, worker, row, provider, unclear, unsent, asked}. `row` is the _id of the
row; `unclear` and `unsent` are what its worker knew when it let go of it, `asked` how often others asked what became
of it. Beside it may stand {_id: "<delivery>:<number>:starts", time, row, starts}: how often workers began to prepare
the attempt and were not heard of again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from pymongo import UpdateOne

from crown.clock import now
from crown.gather import Gather
from crown.notification.v1.events_pb2 import DeliveryEvent
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, Priority
from crown.store import Database, Document, insert_new
from crown.subjects import NAMES

FINAL = frozenset(
    value
    for value in DeliveryState.Type.values()
    if value
    not in {
        DeliveryState.STATE_UNSPECIFIED,
        DeliveryState.PENDING,
        DeliveryState.RETRYING,
        DeliveryState.DEFERRED,
    }
)
# What a channel has still to bring to an end.
NOT_FINAL = [DeliveryState.PENDING, DeliveryState.RETRYING]
# The states that stand in the dead letters.
DEAD = frozenset({DeliveryState.FAILED, DeliveryState.UNKNOWN})
# How an attempt ends; where it was made all the same, it tells more than that the delivery was cancelled meanwhile.
_ATTEMPTED = DEAD | {DeliveryState.DELIVERED_TO_PROVIDER, DeliveryState.DELIVERED}


def row_id(notification_id: str, user_id: str) -> str:
    """The id of a row. Notification ids have a fixed length, so that no two pairs give the same id."""
    return f"{notification_id}/{user_id}"


def collection(channel: Channel.Type.ValueType) -> str:
    """Where the rows of a channel's deliveries stand."""
    return "webhooks" if channel == Channel.WEBHOOK else "ledger"


def row_of(event: DeliveryEvent) -> str:
    """The id of the row that an event's delivery stands in. What goes back to senders has a row for each thing
    that they are told, with the delivery's own id."""
    if event.channel == Channel.WEBHOOK:
        return event.delivery_id
    return row_id(event.notification_id, event.user_id)


def rows_of(notification_id: str) -> Document:
    """A filter for all rows of one notification, served by the index on _id."""
    return {"_id": {"$gte": f"{notification_id}/", "$lt": f"{notification_id}0"}}  # 0 follows / in ASCII


@dataclass(frozen=True, slots=True)
class Entry:
    """One delivery as the ledger has it, and what is needed to send it."""

    event: DeliveryEvent
    state: DeliveryState.Type.ValueType
    reason: str
    attempts: int
    claims: int
    unknowns: int
    done: tuple[str, ...]
    due_time: datetime | None
    provider: str
    provider_message_id: str
    kind: str
    category: Category.Type.ValueType
    create_time: datetime
    expire_time: datetime | None
    wrapped_key: bytes
    ciphertext: bytes
    # Workers in a row that were gone when they should have told how their attempt ended.
    kills: int = 0
    # When somebody had a delivery that was given up tried again, or when a deferred one came due.
    reopen_time: datetime | None = None
    # Whether its notification was cancelled.
    cancelled: bool = False
    # When its notification is to be sent, where its sender named a time.
    send_time: datetime | None = None
    # The service that sent it.
    sender: str = ""

    @property
    def begin_time(self) -> datetime:
        """When its time began to run."""
        return self.reopen_time or self.create_time

    @property
    def due_since(self) -> datetime:
        """Since when somebody waits for it."""
        return max(self.begin_time, self.send_time or self.begin_time)

    @property
    def channel(self) -> str:
        """The channel's name."""
        return NAMES[self.event.channel]

    @property
    def final(self) -> bool:
        """True where nothing will change any more, but by the provider's later word."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class Change:
    """What an attempt, or a decision not to attempt, makes of a delivery."""

    event: DeliveryEvent
    state: DeliveryState.Type.ValueType
    reason: str = ""
    attempts: int = 0
    claims: int = 0
    unknowns: int = 0
    provider: str = ""
    provider_message_id: str = ""
    due_time: datetime | None = None
    done: tuple[str, ...] = ()
    kills: int = 0
    # The provider's own answer, as its code; it is told and not kept.
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make attempt `number` of a delivery by `provider`. `row` is the delivery's row."""

    delivery_id: str
    number: int
    worker: str
    row: str = ""
    provider: str = ""

    @property
    def id(self) -> str:
        """The document's id: whoever inserts it first has the claim."""
        return f"{self.delivery_id}:{self.number}"


@dataclass(frozen=True, slots=True)
class Taken:
    """A claim that somebody has. `asked` counts those who asked what became of it, this time included."""

    time: datetime
    provider: str
    # Why its worker could not say what became of it; empty where it did not come to that.
    unclear: str
    # True where its worker let go of it before the call.
    unsent: bool
    asked: int


@dataclass(frozen=True, slots=True)
class _Reopening:
    """One call of `reopen`."""

    row: str
    channel: str
    claims: int | None
    lane: Priority.Type.ValueType | None


class Ledger:
    """Rows, claims and notifications in the store. What many callers ask at once goes in one round trip. The
    rows stand in `collection`: `ledger` for what goes to people, `webhooks` for what goes back to senders."""

    def __init__(self, db: Database, collection: str = "ledger") -> None:
        self._ledger = db[collection]
        self._claims = db.claims
        self._notifications = db.notifications
        # One round trip after the other: what comes meanwhile makes the next one larger.
        self.load: Gather[DeliveryEvent, Entry | None] = Gather(self._load, parallel=1)
        self.claim: Gather[Claim, bool] = Gather(self._claim, parallel=1)
        self.record: Gather[Change, bool] = Gather(self._record, parallel=1)
        self._reopened: Gather[_Reopening, bool] = Gather(self._reopen, parallel=1)
        # How often the attempt was begun by somebody who was not heard of again.
        self.starts: Gather[Claim, int] = Gather(self._get_starts, parallel=1)
        # Notes that it is begun: before anything is done for it.
        self.start: Gather[Claim, None] = Gather(self._start, parallel=1)

    # -- dispatch

    async def insert_notifications(self, notifications: Sequence[Document]) -> dict[str, Document]:
        """Writes the new ones. Answers what stands now, by id: a notification that was there stays as it is."""
        standing = {document["_id"]: document for document in notifications}
        known = await insert_new(self._notifications, notifications)
        if known:
            fields = dict.fromkeys(("content", "request_hash", "listing", "place", "cancel_time"), 1)
            found = self._notifications.find({"_id": {"$in": list(known)}}, fields)
            standing.update({row["_id"]: row async for row in found})
        return standing

    async def insert(self, rows: Sequence[Document]) -> set[str]:
        """Writes the new rows, and answers the ids of those that were there already."""
        return await insert_new(self._ledger, rows)

    async def deliveries(self, row_ids: Iterable[str]) -> list[Document]:
        """Rows by id, without content."""
        return [row async for row in self._ledger.find({"_id": {"$in": list(row_ids)}})]

    # -- channels

    async def _load(self, events: list[DeliveryEvent]) -> list[Entry | None]:
        row_ids = {row_of(event) for event in events}
        wanted = {event.notification_id for event in events}
        found, notifications = await asyncio.gather(
            self._ledger.find({"_id": {"$in": list(row_ids)}}).to_list(),
            self._notifications.find(
                {"_id": {"$in": list(wanted)}}, {"content": 1, "cancel_time": 1, "send_time": 1}
            ).to_list(),
        )
        rows = {row["_id"]: row for row in found}
        notices = {row["_id"]: row for row in notifications}
        return [
            _entry(event, rows.get(row_of(event)), notices.get(event.notification_id, {})) for event in events
        ]

    async def _claim(self, claims: list[Claim]) -> list[bool]:
        moment = now()
        # Two callers of this process may ask for the same claim in one round trip: one of them may win.
        documents = {claim.id: _document(claim, moment) for claim in claims}
        lost = await insert_new(self._claims, list(documents.values()))
        free = set(documents) - lost
        won = []
        for claim in claims:
            won.append(claim.id in free)
            free.discard(claim.id)
        return won

    async def _get_starts(self, claims: list[Claim]) -> list[int]:
        wanted = {"_id": {"$in": [_starts(claim) for claim in claims]}}
        found = {row["_id"]: row["starts"] async for row in self._claims.find(wanted, {"starts": 1})}
        return [found.get(_starts(claim), 0) for claim in claims]

    async def _start(self, claims: list[Claim]) -> list[None]:
        moment = now()
        updates = [
            UpdateOne(
                {"_id": _starts(claim)},
                {"$inc": {"starts": 1}, "$set": {"time": moment, "row": claim.row}},
                upsert=True,
            )
            for claim in claims
        ]
        await self._claims.bulk_write(updates, ordered=False)
        return [None] * len(claims)

    async def unstart(self, claim: Claim) -> None:
        """Takes one `start` back: its worker lives, and has put the delivery off."""
        await self._claims.update_one({"_id": _starts(claim)}, {"$inc": {"starts": -1}})

    async def claimed(self, claim: Claim) -> Taken | None:
        """The claim as somebody took it; None where nobody has."""
        row = await self._claims.find_one({"_id": claim.id})
        return _taken(row) if row else None

    async def ask(self, claim: Claim) -> Taken | None:
        """`claimed`, with this one noted who asks what became of it: before asking, which may kill."""
        row = await self._claims.find_one_and_update(
            {"_id": claim.id}, {"$inc": {"asked": 1}}, return_document=True
        )
        return _taken(row) if row else None

    async def let_go(self, claim: Claim, *, unclear: str = "") -> None:
        """Notes what the claim's worker knows of its attempt: that nothing was sent, or why that is `unclear`."""
        known: Document = {"unclear": unclear} if unclear else {"unsent": True}
        await self._claims.update_one({"_id": claim.id}, {"$set": known})

    async def _record(self, changes: list[Change]) -> list[bool]:
        moment = now()
        await self._ledger.bulk_write([_update(change, moment) for change in changes], ordered=False)
        return [True] * len(changes)

    # -- dead letters

    async def reopen(
        self,
        row: str,
        channel: str,
        claims: int | None = None,
        lane: Priority.Type.ValueType | None = None,
    ) -> bool:
        """Makes a delivery that was given up pending again, with all its attempts anew; of several callers one
        hears True, and publishes it. `claims` says after which attempt it was given up, `lane` moves the row to
        another lane. False where the delivery is open or settled."""
        return await self._reopened(_Reopening(row, channel, claims, lane))

    async def _reopen(self, wanted: list[_Reopening]) -> list[bool]:
        mark = uuid4().hex
        updates = [_reopening(one, f"{mark}:{number}") for number, one in enumerate(wanted)]
        changed = await self._ledger.bulk_write(updates, ordered=False)
        if changed.modified_count == len(wanted):
            return [True] * len(wanted)
        # Somebody else was first with some. The marks say with which; of two here who want the same, too.
        found = self._ledger.find({"_id": {"$in": [one.row for one in wanted]}}, {"deliveries": 1})
        rows = {row["_id"]: row["deliveries"] async for row in found}
        return [
            rows.get(one.row, {}).get(one.channel, {}).get("reopened") == f"{mark}:{number}"
            for number, one in enumerate(wanted)
        ]


def _document(claim: Claim, moment: datetime) -> Document:
    return {
        "_id": claim.id,
        "time": moment,
        "worker": claim.worker,
        "row": claim.row,
        "provider": claim.provider,
    }


def _starts(claim: Claim) -> str:
    return f"{claim.id}:starts"


def _taken(row: Document) -> Taken:
    return Taken(
        row["time"],
        row.get("provider", ""),
        row.get("unclear", ""),
        row.get("unsent", False),
        row.get("asked", 0),
    )


def _entry(event: DeliveryEvent, row: Document | None, notification: Document) -> Entry | None:
    delivery = row and row["deliveries"].get(NAMES.get(event.channel, ""))
    if row is None or not delivery:
        return None
    return Entry(
        event,
        delivery["state"],
        delivery.get("reason", ""),
        delivery.get("attempts", 0),
        delivery.get("claims", 0),
        delivery.get("unknowns", 0),
        tuple(delivery.get("done", ())),
        delivery.get("due_time"),
        delivery.get("provider", ""),
        delivery.get("provider_message_id", ""),
        row["kind"],
        row["category"],
        row["create_time"],
        row["expire_time"],
        row["wrapped_key"],
        notification.get("content", b""),
        delivery.get("kills", 0),
        delivery.get("reopen_time"),
        # Its sender hears of it all the same.
        event.channel != Channel.WEBHOOK and bool(notification.get("cancel_time")),
        notification.get("send_time"),
        row.get("sender", ""),
    )


def _update(change: Change, moment: datetime) -> UpdateOne:
    channel = NAMES[change.event.channel]
    at = f"deliveries.{channel}"
    fields: Document = {
        f"{at}.state": change.state,
        f"{at}.reason": change.reason,
        f"{at}.attempts": change.attempts,
        f"{at}.claims": change.claims,
        f"{at}.unknowns": change.unknowns,
        f"{at}.provider": change.provider,
        f"{at}.provider_message_id": change.provider_message_id,
        f"{at}.update_time": moment,
        f"{at}.due_time": change.due_time,
        f"{at}.done": list(change.done),
        f"{at}.kills": change.kills,
    }
    update: Document = {"$set": fields}
    if change.state in FINAL:
        update["$pull"] = {"open": channel}
    # The conditions keep a late worker from taking back a final state, or what a later attempt has made.
    before = [*NOT_FINAL, DeliveryState.CANCELLED] if change.state in _ATTEMPTED else NOT_FINAL
    where = {
        "_id": row_of(change.event),
        f"{at}.state": {"$in": before},
        f"{at}.claims": {"$not": {"$gt": change.claims}},
    }
    return UpdateOne(where, update)


def _reopening(one: _Reopening, mark: str) -> UpdateOne:
    at = f"deliveries.{one.channel}"
    where: Document = {"_id": one.row, f"{at}.state": {"$in": list(DEAD)}}
    if one.claims is not None:
        # A delivery that was never claimed has no such field.
        where[f"{at}.claims"] = {"$in": [0, None]} if one.claims == 0 else one.claims
    fields: Document = {
        f"{at}.state": DeliveryState.PENDING,
        f"{at}.reason": "",
        # The claims stay: each attempt ever made has a number of its own.
        f"{at}.attempts": 0,
        f"{at}.unknowns": 0,
        f"{at}.kills": 0,
        f"{at}.update_time": (moment := now()),
        # Its age counts from here on.
        f"{at}.reopen_time": moment,
        f"{at}.reopened": mark,
        f"{at}.due_time": None,
    }
    if one.lane is not None:
        fields["lane"] = one.lane
    return UpdateOne(where, {"$set": fields, "$addToSet": {"open": one.channel}})
