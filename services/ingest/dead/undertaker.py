"""The undertaker: dead letters from the bus into the store, each once, with what the ledger knows of it. A letter
leaves the bus when the store has it, and no sooner."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from google.protobuf.message import DecodeError
from pymongo.errors import PyMongoError

from crown import logs, newer, subjects
from crown.bus import Bus
from crown.clock import moment
from crown.ledger import DEAD, FINAL, collection, row_of
from crown.newer import Newer, must_be_for_us
from crown.notification.v1.events_pb2 import DeadLetter, IntakeEvent
from crown.notification.v1.types_pb2 import Category, Channel, DeadLetterState
from crown.pull import Message, Pull
from crown.store import Database, Document, Store, insert_new

log = logs.get(__name__)

_A_TURN = 200
_PAUSE_S = 2.0
# What a request may name a letter by.
_ID = re.compile(r"[A-Za-z0-9:._-]{1,200}")
# The largest number that the store can keep.
_NUMBER_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of deliveries: their rows by collection and id, and their notifications."""

    rows: dict[tuple[str, str], Document]
    notifications: dict[str, Document]


class Undertaker:
    """Writes letters down; the same one twice is one."""

    def __init__(self, bus: Bus, store: Store) -> None:
        self._db = store.db
        self._pull = Pull(bus, subjects.undertaker(), asyncio.Event(), _A_TURN)

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until `stopping` is set."""
        await self._pull.work(stopping, _A_TURN, self._bury)

    async def _bury(self, messages: list[Message]) -> None:
        messages, letters = await _understood(messages)
        try:
            known = await _known(self._db, letters)
            await write(self._db, [_document(*pair, known) for pair in zip(letters, messages, strict=True)])
        except PyMongoError as error:
            log.warning("undertaker_waits", error=type(error).__name__)
            for message in messages:
                await message.nak(_PAUSE_S)
            await asyncio.sleep(_PAUSE_S)
            return
        for message in messages:
            await message.ack()


async def write(db: Database, documents: Sequence[Document]) -> None:
    """Writes the letters that are new. Of those whose id is there, one that was given up once more since it was
    replayed is open again, and one that only shares the id gets another. Raises PyMongoError."""
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document["_id"], document)
    taken = await insert_new(db.dead_letters, list(first.values()))
    again = [one for one in documents if one["_id"] in taken or one is not first[one["_id"]]]
    for document in again:
        if document["delivery_id"]:
            await _open_again(db, document)
        else:
            await _beside(db, document)


async def _open_again(db: Database, document: Document) -> None:
    """What was given up without another attempt, since it grew too old, has the number that it had before."""
    replayed_before = {
        "_id": document["_id"],
        "state": DeadLetterState.REPLAYED,
        "update_time": {"$lt": document["create_time"]},
    }
    gone = {"update_time": "", "update_by": "", "replay_id": ""}
    fields = {name: value for name, value in document.items() if name not in {"_id", *gone}}
    await db.dead_letters.update_one(replayed_before, {"$set": fields, "$unset": gone})


async def _beside(db: Database, document: Document) -> None:
    """A stream that lost its disk counts from one again: another message may have had this number before."""
    known = await db.dead_letters.find_one({"_id": document["_id"]}, {"body": 1})
    if known is not None and known.get("body") != document["body"]:
        other = f"{document['_id']}:{sha256(document['body']).hexdigest()[:16]}"
        await insert_new(db.dead_letters, [{**document, "_id": other}])


# -- what is written


async def _understood(messages: list[Message]) -> tuple[list[Message], list[DeadLetter]]:
    """Those that are to be settled, and their letters; what is of newer code is parked."""
    ours: list[Message] = []
    letters: list[DeadLetter] = []
    for message in messages:
        try:
            letters.append(_read(message))
        except Newer as found:
            if not newer.is_lost(message):
                await newer.park(message, "undertaker", found.why)
                continue
            letters.append(_unreadable(message))
        ours.append(message)
    return ours, letters


def _read(message: Message) -> DeadLetter:
    """The letter; where it is none of ours, one that holds the message as it came. Raises Newer."""
    try:
        letter = DeadLetter.FromString(message.data)
        moment(letter.create_time)
        if _is_workable(letter):
            must_be_for_us(letter.needs_version, channel=(letter.delivery.channel, subjects.NAMES))
            return letter
    except (DecodeError, ValueError, OverflowError):
        pass
    return _unreadable(message)


def _unreadable(message: Message) -> DeadLetter:
    letter = DeadLetter(reason="UNDECODABLE", body=message.data, stream=message.stream)
    letter.sequence = message.sequence
    letter.create_time.FromDatetime(message.time)
    return letter


def _is_workable(letter: DeadLetter) -> bool:
    named = letter.delivery.delivery_id if letter.HasField("delivery") else letter.stream
    return bool(letter.reason and _ID.fullmatch(named)) and letter.sequence <= _NUMBER_MOST


async def _known(db: Database, letters: Collection[DeadLetter]) -> Known:
    wanted: dict[str, set[str]] = {}
    for letter in letters:
        if letter.HasField("delivery"):
            wanted.setdefault(collection(letter.delivery.channel), set()).add(row_of(letter.delivery))
    rows: dict[tuple[str, str], Document] = {}
    fields = {"deliveries": 1, "kind": 1, "category": 1}
    for name, ids in wanted.items():
        found = db[name].find({"_id": {"$in": list(ids)}}, fields)
        rows.update({(name, row["_id"]): row async for row in found})
    ids = {letter.delivery.notification_id for letter in letters if letter.HasField("delivery")}
    senders = db.notifications.find({"_id": {"$in": list(ids)}}, {"sender": 1, "kind": 1, "category": 1})
    return Known(rows, {row["_id"]: row async for row in senders})


def _document(letter: DeadLetter, message: Message, known: Known) -> Document:
    shared = {
        "state": DeadLetterState.OPEN,
        "reason": letter.reason,
        "error": letter.error,
        "attempts": letter.attempts,
        "create_time": moment(letter.create_time),
        "stream": letter.stream,
        "sequence": letter.sequence,
    }
    if letter.HasField("delivery"):
        return {**shared, **_of_delivery(letter, known)}
    return {**shared, **_of_message(letter, message)}


def _of_delivery(letter: DeadLetter, known: Known) -> Document:
    event = letter.delivery
    notification = known.notifications.get(event.notification_id, {})
    row = known.rows.get((collection(event.channel), row_of(event)), {})
    told = {**notification, **row}
    delivery = row.get("deliveries", {}).get(subjects.NAMES.get(event.channel, ""), {})
    # Letters of an older version say neither provider nor number.
    claims = letter.claims or delivery.get("claims") or 0
    document = {
        "_id": f"{event.delivery_id}:{claims}",
        "channel": event.channel,
        "notification_id": event.notification_id,
        "user_id": event.user_id,
        "delivery_id": event.delivery_id,
        "kind": told.get("kind", ""),
        "category": told.get("category", Category.CATEGORY_UNSPECIFIED),
        "sender": notification.get("sender", ""),
        "provider": letter.provider or delivery.get("provider") or "",
        "claims": claims,
    }
    if delivery and is_settled(delivery, claims):
        # The provider's later word came before the letter did.
        document["state"] = DeadLetterState.RECONCILED
    return document


def is_settled(delivery: Document, claims: int) -> bool:
    """Whether a delivery that was given up after attempt number `claims` ended otherwise, without another."""
    later = (delivery.get("claims") or 0) > claims
    return not later and delivery["state"] in FINAL - DEAD


def _of_message(letter: DeadLetter, message: Message) -> Document:
    return {
        "_id": f"{letter.stream}:{letter.sequence}",
        "channel": _channel(message.subject),
        "notification_id": "",
        "user_id": "",
        "delivery_id": "",
        "kind": "",
        "category": Category.CATEGORY_UNSPECIFIED,
        "sender": "",
        "provider": "",
        "claims": 0,
        "body": letter.body,
        **_of_intake(letter),
    }


_CHANNEL_OF = {subjects.dead(name): value for value, name in subjects.NAMES.items()}


def _channel(subject: str) -> Channel.Type.ValueType:
    return _CHANNEL_OF.get(subject, Channel.CHANNEL_UNSPECIFIED)


def _of_intake(letter: DeadLetter) -> dict[str, Any]:
    """What an accepted notification says of itself that dispatch could read and not work on."""
    if not subjects.source(letter.stream, ""):
        return {}
    try:
        event = IntakeEvent.FromString(letter.body)
        UUID(event.notification_id)
    except (DecodeError, ValueError):
        return {}
    return {
        "notification_id": event.notification_id,
        "user_id": event.user_ids[0] if len(event.user_ids) == 1 else "",
        "kind": event.kind,
        "category": event.category,
        "sender": event.sender,
    }
