"""Builds digests that have come due, each from the items that wait for it, and sends it as a notification of its own.

Whoever writes the document of a digest first says what is in it and what it says; everybody goes on from that
document. Then, in this order, so that a crash between any two loses no item and sends none twice: the digest's own
notification and row, what is published, and last the items, which find the digest in the store when it is built
again. An item that comes after the document waits for the next digest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime

from crown import catalogue, failpoint, ids, logs, metrics, tracing
from crown.erasures import ERASED
from crown.ledger import row_id
from crown.notification.v1.events_pb2 import NotificationContent, Sealed
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.people import People
from crown.recipients import Recipients
from crown.store import Database, Document, insert_new
from crown.subjects import CHANNELS, LANES
from crown.vault import Key, VaultError
from services.ingest.clock.releases import Release
from services.ingest.decide import Asked, Decision, Digest, Person, Waiting, again, decide
from services.ingest.digest.content import SHOWN_MOST, Item, compose
from services.ingest.dispatch.announcer import Announcer
from services.ingest.dispatch.notice import Notice

log = logs.get(__name__)

KIND = "digest"
# The service that it comes from, as timelines and books tell.
SENDER = "crown"
# Items of one digest; what is more waits for the next.
ITEMS_MOST = 1_000
_CHANNEL_OF = {name: value for value, name in CHANNELS.items()}

CarryOut = Callable[[list["Release"]], Awaitable[None]]


class Digests:
    """The digests in the store. `carry_out` brings what becomes of items into their rows."""

    def __init__(self, db: Database, data_key: Key, announcer: Announcer, carry_out: CarryOut) -> None:
        self._db = db
        self._people = People(db, data_key)
        self._recipients = Recipients(db, self._people)
        self._announcer = announcer
        self._carry_out = carry_out

    async def send(self, digests: Collection[Digest], people: Mapping[str, Person], moment: datetime) -> None:
        """Builds those that are due and sends them. `people` says what each person wants now."""
        for digest in digests:
            await self._send(digest, people.get(digest.user_id, Person(digest.user_id)), moment)

    async def _send(self, digest: Digest, person: Person, moment: datetime) -> None:
        standing = await self._db.digests.find_one({"_id": digest.id})
        waiting = await self._waiting(digest)
        items = [row for row in waiting if _end(row, moment) is None]
        over = [row for row in waiting if _end(row, moment) is not None]
        await self._carry_out([_release(row, digest, _end(row, moment), moment) for row in over])
        if not items:
            return
        decision = again(_as_one(digest), person, moment, read=False)
        if standing is None and decision.state == DeliveryState.SUPPRESSED:
            # The person wants none of it any more.
            await self._carry_out([_release(row, digest, decision, moment) for row in items])
            return
        standing = standing or await self._compose(digest, person, items, moment)
        if standing is None:
            erased = Decision(_CHANNEL_OF[digest.channel], DeliveryState.SUPPRESSED, ERASED)
            await self._carry_out([_release(row, digest, erased, moment) for row in items])
            return
        failpoint.reach("digest.after_document")
        with _step(digest, standing, items):
            await self._publish(digest, standing, decision)
        failpoint.reach("digest.after_publish")
        told = set(standing["items"])
        done = Decision(_CHANNEL_OF[digest.channel], DeliveryState.DIGESTED, _notification_id(digest))
        await self._carry_out([_release(row, digest, done, moment) for row in items if row["_id"] in told])
        late = [row for row in items if row["_id"] not in told]
        await self._carry_out(
            [_release(row, digest, _later(row, digest, person, moment), moment) for row in late]
        )

    async def _waiting(self, digest: Digest) -> list[Document]:
        """Its items, the newest first."""
        at = f"deliveries.{digest.channel}"
        where = {
            "user_id": digest.user_id,
            "wake_time": {"$exists": True},
            f"{at}.digest": digest.id,
            f"{at}.state": DeliveryState.DEFERRED,
        }
        found = self._db.ledger.find(where).hint("waiting").limit(ITEMS_MOST)
        rows = [row async for row in found]
        return sorted(rows, key=lambda row: (row["create_time"], row["_id"]), reverse=True)

    async def _compose(
        self, digest: Digest, person: Person, items: list[Document], moment: datetime
    ) -> Document | None:
        """The document of a new digest, or the one that somebody else was first to write. None where the person was
        erased."""
        key = (await self._people.keys([digest.user_id])).get(digest.user_id)
        if key is None:
            return None
        locale = person.choices.locale or (await self._recipients.locales([digest.user_id])).get(
            digest.user_id, ""
        )
        data = compose(await self._read(items[:SHOWN_MOST], key), len(items), locale)
        content_key = Key.fresh()
        content = NotificationContent(data=data.SerializeToString(), collapse_key=KIND).SerializeToString()
        document: Document = {
            "_id": digest.id,
            "user_id": digest.user_id,
            "notification_id": _notification_id(digest),
            "items": [row["_id"] for row in items],
            "lane": max(row["lane"] for row in items),
            "content": content_key.seal(content),
            "wrapped_key": key.wrap(content_key),
            "create_time": moment,
        }
        if await insert_new(self._db.digests, [document]):
            return await self._db.digests.find_one({"_id": digest.id})
        metrics.DIGESTS.labels(digest.channel).inc()
        log.info("digest_built", channel=digest.channel, count=len(items))
        return document

    async def _read(self, rows: Sequence[Document], key: Key) -> list[Item]:
        wanted = [row["notification_id"] for row in rows]
        found = self._db.notifications.find({"_id": {"$in": wanted}}, {"content": 1})
        contents = {row["_id"]: row["content"] async for row in found}
        return [_item(row, contents.get(row["notification_id"]), key) for row in rows]

    async def _publish(self, digest: Digest, standing: Document, decision: Decision) -> None:
        """Writes the notification and its row, and has it sent. Both are there already where somebody was
        stopped behind this point."""
        trace = tracing.current()
        notification, row = _notification(digest, standing), _row(digest, standing, decision)
        if tracing.is_sampled(trace):
            notification["trace_id"], row["trace"] = tracing.trace_id(trace), trace
        await insert_new(self._db.notifications, [notification])
        if await insert_new(self._db.ledger, [row]):
            row = await self._db.ledger.find_one({"_id": row["_id"]}) or row
        failpoint.reach("digest.after_row")
        # No socket is told of it, so no content is needed.
        await self._announcer.announce([Notice(row, Sealed(), webhook=False, trace=trace)])


def _step(digest: Digest, standing: Document, items: list[Document]) -> tracing.Span | tracing.Nothing:
    """The digest as the beginning of a trace of its own, which links to those of its items."""
    links = [row["trace"] for row in items if "trace" in row]
    return tracing.root(
        "digest",
        tracing.Kind.PRODUCER,
        links,
        wanted=bool(links),
        notification_id=_notification_id(digest),
        channel=digest.channel,
        lane=LANES[standing["lane"]],
        kind=KIND,
        count=len(standing["items"]),
    )


def _notification_id(digest: Digest) -> str:
    """The notification that it goes out as."""
    return ids.keyed_notification(SENDER, KIND, digest.id, 0)


def _later(row: Document, digest: Digest, person: Person, moment: datetime) -> Decision:
    """What becomes of an item that comes too late for its digest: by what holds now, as if it were new."""
    channel = _CHANNEL_OF[digest.channel]
    asked = Asked((channel,), row["category"], row["kind"], since=moment, expire_time=row["expire_time"])
    (decision,) = decide(asked, person, moment)
    return decision


def _as_one(digest: Digest) -> Waiting:
    """The digest as what waited as a whole."""
    category = next(value for value, name in catalogue.CATEGORIES.items() if name == digest.category)
    return Waiting(_CHANNEL_OF[digest.channel], category, "", "DIGEST")


def _end(row: Document, moment: datetime) -> Decision | None:
    """Why a row is no item any more; None: it is one."""
    if row["expire_time"] is not None and row["expire_time"] <= moment:
        return Decision(Channel.CHANNEL_UNSPECIFIED, DeliveryState.EXPIRED, "EXPIRED: DIGEST")
    if any(row.get(name) for name in ("read_time", "archive_time", "delete_time")):
        return Decision(Channel.CHANNEL_UNSPECIFIED, DeliveryState.SUPPRESSED, "READ")
    return None


def _release(row: Document, digest: Digest, decision: Decision | None, moment: datetime) -> Release:
    assert decision is not None
    return Release(row, {digest.channel: decision}, moment)


def _item(row: Document, ciphertext: bytes | None, key: Key) -> Item:
    """What the notification says; nothing where it was erased."""
    if not ciphertext:
        return Item("", "")
    try:
        content = NotificationContent.FromString(key.unwrap(row["wrapped_key"]).open(ciphertext))
    except VaultError:
        return Item("", "")
    data = NotificationData.FromString(content.data)
    return Item(data.title, data.message, data.action_url, data.image_url)


def _notification(digest: Digest, standing: Document) -> Document:
    waiting = _as_one(digest)
    return {
        "_id": _notification_id(digest),
        "sender": SENDER,
        "kind": KIND,
        "category": waiting.category,
        "priority": standing["lane"],
        "channels": [waiting.channel],
        "create_time": standing["create_time"],
        "expire_time": None,
        "recipient_count": 1,
        "request_hash": b"",
        "content": standing["content"],
    }


def _row(digest: Digest, standing: Document, decision: Decision) -> Document:
    """The digest's own row. It is in no inbox: its items are."""
    waiting = _as_one(digest)
    delivery: Document = {
        "id": ids.delivery(_notification_id(digest), digest.user_id, digest.channel),
        "state": decision.state,
        "reason": decision.reason,
        "update_time": standing["create_time"],
        "decided": decision.state,
        "decided_reason": decision.reason,
    }
    row: Document = {
        "_id": row_id(_notification_id(digest), digest.user_id),
        "notification_id": _notification_id(digest),
        "user_id": digest.user_id,
        "create_time": standing["create_time"],
        "decide_time": standing["create_time"],
        "expire_time": None,
        "kind": KIND,
        "category": waiting.category,
        "lane": standing["lane"],
        "sender": SENDER,
        "channels": [waiting.channel],
        "wrapped_key": standing["wrapped_key"],
        "deliveries": {digest.channel: delivery},
        "open": [digest.channel] if decision.open else [],
        "hidden": True,
    }
    if decision.due_time is not None:
        delivery["due_time"] = delivery["decided_due_time"] = row["wake_time"] = decision.due_time
    return row
