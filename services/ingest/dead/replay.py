"""Replaying dead letters: has what was given up delivered again. For each, in this order: the row is opened, its
message is published, the timeline tells of it, and last of all the letter is marked; so a crash between any two
leaves an open letter, whose next replay finds what was done, or an open row, which the sweeper finds.

Of several who replay the same letter one opens the row, and publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

from pymongo import UpdateOne

from crown import failpoint, subjects, tracing
from crown.bus import Bus, Outgoing
from crown.clock import now
from crown.ledger import DEAD, Ledger, collection, row_of
from crown.notification.v1.events_pb2 import DeliveryEvent
from crown.notification.v1.types_pb2 import Channel, DeadLetterState, DeliveryState, Priority, TimelineEvent
from crown.store import Database, Document
from services.ingest.dead.undertaker import is_settled

# A row that was opened so long ago and is neither claimed nor its letter marked: who opened it died, and may not
# have published it.
STALE = timedelta(seconds=5)


class Step(Enum):
    """What a replay does about a letter."""

    OPEN = auto()  # open the row, and publish it
    PUBLISH = auto()  # somebody opened the row and died
    MARK = auto()  # it was replayed already, and only the letter does not say so
    SETTLE = auto()  # it ended otherwise meanwhile
    BODY = auto()  # publish the message as it came


# Why a letter is not replayed, for people.
GONE = "what it says is gone: the person or the notification was erased"
EXPIRED = "its notification has expired"
SETTLED = "the provider's later word has settled it"
HOMELESS = "nobody takes what came from this stream a second time"


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants letters replayed, and how: on their own lane, or on `lane`; as a part of the replay `replay_id`, or
    of none. An open row of a letter that does not say so is published where it was opened `patience` ago."""

    by: str
    replay_id: str = ""
    lane: Priority.Type.ValueType | None = None
    patience: timedelta = STALE


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store knows of a letter's delivery. `row` is None where it was erased."""

    row: Document | None
    readable: bool


@dataclass(slots=True)
class Plan:
    """The letters of one turn, by what is done about them; `refused` says why nothing is, by id."""

    steps: dict[Step, list[Document]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def of(self, *steps: Step) -> list[Document]:
        """The letters of these steps."""
        return [letter for step in steps for letter in self.steps.get(step, ())]


class Replayer:
    """Replays letters that are open."""

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._db = db
        self._letters = db.dead_letters
        self._ledgers = {name: Ledger(db, name) for name in ("ledger", "webhooks")}

    async def replay(self, letters: Sequence[Document], order: Order) -> Mapping[str, str]:
        """Replays `letters` as `order` says, and answers why some were not, by id. The same call again is
        harmless. Raises PyMongoError and what publishing raises; call again then."""
        facts = await self._facts(letters)
        plan = _plan(letters, facts, order.patience)
        await self._deliver(plan, facts, order.lane)
        for letter in plan.of(Step.BODY):
            await self._publish_body(letter)
        failpoint.reach("replay.after_publish")
        await self._tell(plan.of(Step.OPEN, Step.PUBLISH, Step.MARK), order.by)
        marks: Document = {"update_time": now(), "update_by": order.by}
        if order.replay_id:
            marks["replay_id"] = order.replay_id
        done = plan.of(Step.OPEN, Step.PUBLISH, Step.MARK, Step.BODY)
        await self._mark(done, {**marks, "state": DeadLetterState.REPLAYED})
        await self._mark(plan.of(Step.SETTLE), {**marks, "state": DeadLetterState.RECONCILED})
        return plan.refused

    # -- what is known

    async def _facts(self, letters: Iterable[Document]) -> dict[str, Facts]:
        """By letter; those that are no deliveries are not in it."""
        deliveries = [letter for letter in letters if letter["delivery_id"]]
        people = {letter["user_id"] for letter in deliveries}
        notifications = {letter["notification_id"] for letter in deliveries}
        rows, keys, contents = await asyncio.gather(
            self._rows(deliveries),
            self._there("people", "key", people),
            self._there("notifications", "content", notifications),
        )
        return {
            letter["_id"]: Facts(
                rows.get((collection(letter["channel"]), _row_id(letter))),
                # What goes back to a sender is not sealed for the person.
                letter["channel"] == Channel.WEBHOOK
                or (letter["user_id"] in keys and letter["notification_id"] in contents),
            )
            for letter in deliveries
        }

    async def _rows(self, letters: Iterable[Document]) -> dict[tuple[str, str], Document]:
        wanted: dict[str, set[str]] = {}
        for letter in letters:
            wanted.setdefault(collection(letter["channel"]), set()).add(_row_id(letter))
        fields = {"deliveries": 1, "expire_time": 1, "lane": 1, "trace": 1}
        return {
            (name, row["_id"]): row
            for name, ids in wanted.items()
            async for row in self._db[name].find({"_id": {"$in": list(ids)}}, fields)
        }

    async def _there(self, name: str, kept: str, ids: Collection[str]) -> set[str]:
        """Those of `ids` whose document still has the field `kept`."""
        where = {"_id": {"$in": list(ids)}, kept: {"$nin": [None, b""]}}
        return {row["_id"] async for row in self._db[name].find(where, {"_id": 1})}

    # -- what is done

    async def _deliver(
        self, plan: Plan, facts: dict[str, Facts], lane: Priority.Type.ValueType | None
    ) -> None:
        given_up = plan.of(Step.OPEN)
        opened = await asyncio.gather(*(self._open(letter, lane) for letter in given_up))
        failpoint.reach("replay.after_open")
        due: dict[Priority.Type.ValueType, list[Outgoing]] = {}
        for letter, ours in zip(given_up, opened, strict=True):
            if ours:
                found = facts[letter["_id"]]
                _add(due, letter, lane or _lane(found), found)
        for letter in plan.of(Step.PUBLISH):
            found = facts[letter["_id"]]
            _add(due, letter, _lane(found), found)
        for messages in due.values():
            await self._bus.publish_many(messages)

    async def _open(self, letter: Document, lane: Priority.Type.ValueType | None) -> bool:
        ledger = self._ledgers[collection(letter["channel"])]
        name = subjects.NAMES[letter["channel"]]
        return await ledger.reopen(_row_id(letter), name, letter["claims"], lane)

    async def _publish_body(self, letter: Document) -> None:
        """Read here, one at a time: they may be large."""
        found = await self._letters.find_one({"_id": letter["_id"]}, {"body": 1})
        body = found["body"] if found else b""
        # Who replays it at the same time has it stored once; later, dispatch finds it done.
        headers = {"Nats-Msg-Id": f"replay:{letter['_id']}"}
        await self._bus.publish(Outgoing(_source(letter), body, headers))

    async def _tell(self, letters: Sequence[Document], by: str) -> None:
        if letters:
            entries = (timeline_entry(letter, TimelineEvent.REPLAYED, by) for letter in letters)
            await self._db.timeline.bulk_write(list(entries), ordered=False)

    async def _mark(self, letters: Sequence[Document], fields: Document) -> None:
        if letters:
            where = {"_id": {"$in": [letter["_id"] for letter in letters]}, "state": DeadLetterState.OPEN}
            await self._letters.update_many(where, {"$set": fields})


def timeline_entry(letter: Document, event: TimelineEvent.Type.ValueType, by: str) -> UpdateOne:
    """What the timeline tells of what the operator `by` did; the same for every repetition."""
    replayed = event == TimelineEvent.REPLAYED
    entry = {
        "notification_id": letter["notification_id"],
        "delivery_id": letter["delivery_id"],
        "user_id": letter["user_id"],
        "channel": letter["channel"],
        "event": event,
        "state": DeliveryState.PENDING if replayed else DeliveryState.STATE_UNSPECIFIED,
        "reason": f"OPERATOR: {by}",
        "time": now(),
    }
    word = "replayed" if replayed else "discarded"
    key = f"{letter['delivery_id']}:{word}:{letter['claims']}"
    return UpdateOne({"_id": key}, {"$setOnInsert": entry}, upsert=True)


# -- what is decided


def _plan(letters: Iterable[Document], facts: dict[str, Facts], patience: timedelta) -> Plan:
    plan = Plan()
    moment = now()
    for letter in letters:
        found = decide(letter, facts.get(letter["_id"]), moment, patience)
        if isinstance(found, Step):
            plan.steps.setdefault(found, []).append(letter)
        if found == Step.SETTLE:
            plan.refused[letter["_id"]] = SETTLED
        elif isinstance(found, str):
            plan.refused[letter["_id"]] = found
    return plan


def decide(
    letter: Document, facts: Facts | None, moment: datetime, patience: timedelta = STALE
) -> Step | str:
    """What to do about an open letter, or why nothing can be done. `facts` are there where it is a delivery. A row
    that was opened longer than `patience` ago may never have been published."""
    if facts is None:
        return Step.BODY if _source(letter) else HOMELESS
    delivery = facts.row and facts.row["deliveries"].get(subjects.NAMES.get(letter["channel"], ""))
    if facts.row is None or not delivery:
        return GONE
    if (delivery.get("claims") or 0) > letter["claims"]:
        return Step.MARK
    if is_settled(delivery, letter["claims"]):
        return Step.SETTLE
    if not facts.readable:
        return GONE
    expire_time = facts.row.get("expire_time")
    if expire_time is not None and expire_time <= moment:
        return EXPIRED
    if delivery["state"] in DEAD:
        return Step.OPEN
    lost = delivery["state"] == DeliveryState.PENDING and delivery["update_time"] <= moment - patience
    return Step.PUBLISH if lost else Step.MARK


def _row_id(letter: Document) -> str:
    named = ("delivery_id", "notification_id", "user_id", "channel")
    return row_of(DeliveryEvent(**{name: letter[name] for name in named}))


def _source(letter: Document) -> str:
    return subjects.source(letter["stream"], subjects.NAMES.get(letter["channel"], ""))


def _lane(facts: Facts) -> Priority.Type.ValueType:
    row = facts.row or {}
    lane: Priority.Type.ValueType = row.get("lane", Priority.BULK)
    return lane if lane in subjects.LANES else Priority.BULK


def _add(
    due: dict[Priority.Type.ValueType, list[Outgoing]],
    letter: Document,
    lane: Priority.Type.ValueType,
    facts: Facts,
) -> None:
    name = subjects.NAMES[letter["channel"]]
    event = DeliveryEvent(
        delivery_id=letter["delivery_id"],
        notification_id=letter["notification_id"],
        user_id=letter["user_id"],
        channel=letter["channel"],
        priority=lane,
    )
    headers = tracing.header((facts.row or {}).get("trace", ""))
    message = Outgoing(subjects.delivery(name, subjects.LANES[lane]), event.SerializeToString(), headers)
    due.setdefault(lane, []).append(message)
