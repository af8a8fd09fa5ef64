"""What decisions need to know of people, loaded in a few round trips for all of them: keys and choices of everybody,
the zone of whose clock matters, and how much went out to those who have a cap."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from crown import catalogue, choices
from crown.choices import LOUD, NOTHING, SPANS, Cap, Choices
from crown.notification.v1.types_pb2 import Category, DeliveryState
from crown.people import People
from crown.preferences import Preferences
from crown.store import Database, Document
from crown.subjects import CHANNELS
from crown.vault import Key
from services.ingest.decide import Asked, Decision, Person, decide
from services.ingest.dispatch.orders import Order

# What counts against a cap: what went out, or will.
_SPENT = [
    DeliveryState.PENDING,
    DeliveryState.RETRYING,
    DeliveryState.DELIVERED_TO_PROVIDER,
    DeliveryState.DELIVERED,
    DeliveryState.BOUNCED,
    DeliveryState.READ,
    DeliveryState.UNKNOWN,
]
# Of one round trip: people and caps.
_COUNTS_MOST = 100


@dataclass(slots=True)
class Facts:
    """What is known about everybody in some orders. What is decided by it counts against caps at once."""

    keys: dict[str, Key]
    choices: dict[str, Choices]
    zones: dict[str, str]
    counts: dict[str, dict[Cap, int]]

    def decide(self, order: Order, moment: datetime) -> dict[str, list[Decision]]:
        """What is decided for each person of an order. Who chose nothing shares one list: their rows are one form."""
        ask = order.asked
        usual = None if ask.local_time or _has_defaults(ask) else decide(ask, Person(), moment)
        return {user_id: self._decide(ask, user_id, moment, usual) for user_id in order.event.user_ids}

    def _decide(
        self, ask: Asked, user_id: str, moment: datetime, usual: list[Decision] | None
    ) -> list[Decision]:
        chosen = self.choices.get(user_id)
        if chosen is None and usual is not None:
            return usual
        counts = self.counts.get(user_id, {})
        person = Person(user_id, chosen or NOTHING, self.zones.get(user_id, ""), counts)
        made = decide(ask, person, moment)
        if counts:
            _count(counts, ask, made)
        return made


class FactFinder:
    """Loads facts."""

    def __init__(self, db: Database, people: People) -> None:
        self._contacts = db.contacts
        self._ledger = db.ledger
        self._people = people
        self._preferences = Preferences(db)

    async def find(self, orders: Collection[Order], moment: datetime) -> Facts:
        """The facts about everybody in `orders`."""
        everybody = list({user_id for order in orders for user_id in order.event.user_ids})
        keys, chosen = await asyncio.gather(
            self._people.keys_or_new(everybody), self._preferences.choices(everybody)
        )
        caps = _caps(orders, chosen)
        zones, counts = await asyncio.gather(
            self._zones(_clocked(orders, chosen)), self._counts(caps, moment)
        )
        return Facts(keys, chosen, zones, counts)

    async def _zones(self, user_ids: Collection[str]) -> dict[str, str]:
        if not user_ids:
            return {}
        rows = self._contacts.find({"_id": {"$in": list(user_ids)}}, {"time_zone": 1})
        return {row["_id"]: row["time_zone"] async for row in rows if row.get("time_zone")}

    async def _counts(self, caps: dict[str, set[Cap]], moment: datetime) -> dict[str, dict[Cap, int]]:
        counts = {user_id: dict.fromkeys(found, 0) for user_id, found in caps.items()}
        asked = [(user_id, cap) for user_id, found in caps.items() for cap in found]
        for start in range(0, len(asked), _COUNTS_MOST):
            part = asked[start : start + _COUNTS_MOST]
            first, *others = [
                _counting(number, user_id, cap, moment) for number, (user_id, cap) in enumerate(part)
            ]
            together = ({"$unionWith": {"coll": self._ledger.name, "pipeline": one}} for one in others)
            async for row in await self._ledger.aggregate([*first, *together]):
                user_id, cap = part[row["_id"]]
                counts[user_id][cap] = row["count"]
        return counts


def _counting(number: int, user_id: str, cap: Cap, moment: datetime) -> list[Document]:
    """Counts, no further than the cap, what went out to one person."""
    state = f"deliveries.{cap.channel}.state"
    categories = [Category.Type.Value(cap.category.upper())] if cap.category else list(_CAPPED)
    where = {
        "user_id": user_id,
        "create_time": {"$gt": moment - SPANS[cap.per]},
        "category": {"$in": categories},
        "$or": [
            {state: {"$in": _SPENT}},
            # What waits goes out, but for what becomes one of many items or may never go.
            {
                state: DeliveryState.DEFERRED,
                f"deliveries.{cap.channel}.digest": None,
                f"deliveries.{cap.channel}.unless_read": None,
            },
        ],
    }
    return [
        {"$match": where},
        {"$limit": cap.most},
        {"$group": {"_id": {"$literal": number}, "count": {"$sum": 1}}},
    ]


_CAPPED = tuple(category for category in catalogue.CATEGORIES if category != Category.SECURITY)


def _has_defaults(ask: Asked) -> bool:
    """Whether the category has digests or caps for who chose nothing."""
    rules = catalogue.category(catalogue.CATEGORIES[ask.category])
    return bool(rules.digest or rules.caps)


def _clocked(orders: Collection[Order], chosen: dict[str, Choices]) -> set[str]:
    """Those whose local time may matter, and who have not chosen a zone."""
    found = set()
    for order in orders:
        everybody = order.asked.local_time or _has_defaults(order.asked)
        for user_id in order.event.user_ids:
            own = chosen.get(user_id, NOTHING)
            if not own.time_zone and (everybody or own.quiet_hours or own.digests):
                found.add(user_id)
    return found


def _caps(orders: Collection[Order], chosen: dict[str, Choices]) -> dict[str, set[Cap]]:
    """The caps that may stop something in `orders`, by person."""
    found: dict[str, set[Cap]] = {}
    for order in orders:
        ask = order.asked
        category = catalogue.CATEGORIES[ask.category]
        loud = [CHANNELS[channel] for channel in ask.channels if CHANNELS[channel] in LOUD]
        defaults = bool(catalogue.category(category).caps)
        for user_id in order.event.user_ids if loud else ():
            own = chosen.get(user_id, NOTHING)
            if defaults or own.caps:
                for channel in loud:
                    found.setdefault(user_id, set()).update(choices.caps(own, category, channel))
    return {user_id: caps for user_id, caps in found.items() if caps}


def _count(counts: dict[Cap, int], ask: Asked, made: list[Decision]) -> None:
    """Notes what was just decided to go out, for the next notification of the same turn."""
    category = catalogue.CATEGORIES[ask.category]
    for decision in made:
        goes = decision.state in (DeliveryState.PENDING, DeliveryState.DEFERRED)
        if goes and not decision.digest and not decision.unless_read:
            for cap in counts:
                if cap.channel == CHANNELS[decision.channel] and cap.category in ("", category):
                    counts[cap] += 1
