"""What a few hundred events come to: entries of timelines, moves of the ledger, and words to senders. Pure:
what is known comes in as facts, and what is to be written goes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from pymongo import UpdateOne

from crown import metrics
from crown.clock import moment
from crown.ledger import DEAD
from crown.notification.v1.events_pb2 import CallbackEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.store import Document
from crown.subjects import NAMES
from services.ingest.books import callbacks, entries
from services.ingest.books.callbacks import Standing
from services.ingest.books.events import Decided, Event
from services.ingest.books.facts import Facts
from services.ingest.webhook import rows as webhooks
from services.ingest.webhook.rows import Word


@dataclass(frozen=True, slots=True)
class Place:
    """One delivery in the ledger."""

    row: str
    channel: str
    delivery_id: str


@dataclass(slots=True)
class Turn:
    """What is to be written: entries by id, what to tell senders, where callbacks have brought deliveries
    from and to, and the notifications whose receiver is gone."""

    entries: dict[str, Document] = field(default_factory=dict)
    words: list[Word] = field(default_factory=list)
    before: dict[Place, Standing] = field(default_factory=dict)
    after: dict[Place, Standing] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    @property
    def settled(self) -> list[str]:
        """The deliveries that stood in the dead letters, and that a provider's word has settled."""
        return [
            place.delivery_id
            for place, standing in self.after.items()
            if self.before[place].state in DEAD and standing.state not in DEAD
        ]

    def updates(self, present: datetime) -> list[UpdateOne]:
        """What brings the ledger there. Each is harmless the second time, and takes nothing back that
        somebody else has found out meanwhile."""
        moved = ((place, self.before[place], standing) for place, standing in self.after.items())
        return [update for one in moved for update in _updates(*one, present)]


def take(events: Iterable[Event], facts: Facts, present: datetime) -> Turn:
    """What `events` come to, in their order."""
    turn = Turn()
    for event in events:
        match event:
            case CallbackEvent():
                _take_callback(event, facts, turn, present)
            case Decided(outcome):
                _tell_outcome(outcome, facts.row(event), turn)
            case OutcomeEvent():
                _take_outcome(event, facts, turn)
    return turn


def _take_outcome(event: OutcomeEvent, facts: Facts, turn: Turn) -> None:
    if event.channel == Channel.WEBHOOK and event.reason.startswith("GONE"):
        turn.gone.add(event.notification_id)
    if event.state in callbacks.TOLD:
        # No attempt came to that: an engine repeats what a callback has made of it, and that stands there.
        return
    entry = entries.of_outcome(event)
    turn.entries.setdefault(entry["_id"], entry)
    if event.channel != Channel.WEBHOOK:
        _tell_outcome(event, facts.row(event) if event.notification_id in facts.hooked else None, turn)


def _tell_outcome(event: OutcomeEvent, row: Document | None, turn: Turn) -> None:
    """Tells the sender, where it wants to hear: of what stands still, and not of what a callback has
    overtaken."""
    delivery = row and row["deliveries"].get(NAMES.get(event.channel, ""))
    if row is None or not delivery or delivery["state"] != event.state or not webhooks.is_told(event.state):
        return
    time = moment(event.occur_time)
    turn.words.append(
        _word(row, event.channel, delivery["id"], event.state, event.reason, event.provider, time)
    )


def _take_callback(event: CallbackEvent, facts: Facts, turn: Turn, present: datetime) -> None:
    channel = NAMES.get(event.channel, "")
    row = facts.row(event)
    delivery = row and row["deliveries"].get(channel)
    if row is None or not delivery or event.delivery_id not in {"", delivery["id"]}:
        # Of a direct send, of long ago, or of nobody we know.
        metrics.CALLBACKS_RECORDED.labels(channel, "unknown").inc()
        return
    place = Place(row["_id"], channel, delivery["id"])
    told = entries.told(event, present)
    before = turn.before.setdefault(place, _standing(delivery))
    known = turn.after.get(place, before)
    standing = turn.after[place] = callbacks.apply(known, told)
    moved = standing.state != known.state
    metrics.CALLBACKS_RECORDED.labels(channel, "moved" if moved else "kept").inc()
    state = standing.state if moved else DeliveryState.STATE_UNSPECIFIED
    entry = entries.of_callback(event, told, row, delivery["id"], state)
    turn.entries.setdefault(entry["_id"], entry)
    if moved and row["notification_id"] in facts.hooked:
        word = _word(
            row, event.channel, delivery["id"], standing.state, standing.reason, event.provider, told.time
        )
        turn.words.append(word)


def _word(
    row: Document,
    channel: Channel.Type.ValueType,
    delivery_id: str,
    state: DeliveryState.Type.ValueType,
    reason: str,
    provider: str,
    time: datetime,
) -> Word:
    return Word(
        row["notification_id"],
        row["user_id"],
        row["lane"],
        delivery_id,
        channel,
        state,
        reason,
        provider,
        time,
        row.get("trace", ""),
    )


def _standing(delivery: Document) -> Standing:
    return Standing(
        delivery["state"],
        delivery.get("reason", ""),
        delivery.get("provider", ""),
        delivery.get("open_time"),
        delivery.get("click_time"),
    )


def _updates(place: Place, before: Standing, after: Standing, present: datetime) -> Iterable[UpdateOne]:
    at = f"deliveries.{place.channel}"
    own = {"_id": place.row, f"{at}.id": place.delivery_id}
    times = {"open_time": after.open_time, "click_time": after.click_time}
    first = {f"{at}.{name}": time for name, time in times.items() if time is not None}
    if first:
        yield UpdateOne(own, {"$min": first})
    if after.state != before.state:
        fields = {"state": after.state, "reason": after.reason, "update_time": present, "due_time": None}
        # Settled: no retry goes out, and no engine takes it back.
        yield UpdateOne(
            {**own, f"{at}.state": {"$in": callbacks.below(after.state)}},
            {
                "$set": {f"{at}.{name}": value for name, value in fields.items()},
                "$pull": {"open": place.channel},
            },
        )
