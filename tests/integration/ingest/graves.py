"""Dead letters as they come about: deliveries that a provider refuses for good, with everybody at work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from crown import auth
from crown.clock import now
from crown.notification.v1.types_pb2 import Channel
from crown.outcome import Delivered, Discard, Outcome
from crown.people import People
from crown.provider import Attempt
from crown.store import Document
from services.ingest.books.recorder import Recorder
from services.ingest.dead.service import DeadLetterService
from services.ingest.dead.undertaker import Undertaker
from tests.integration.crown.scripted import Scripted, delivering
from tests.integration.local import Local
from tests.integration.rig import until

PHONE = "+4915112345678"
REFUSED = Discard("INVALID_NUMBER", "21211")


@dataclass
class Carrier(Scripted):
    """Refuses everybody until told otherwise; remembers what arrived."""

    name: str = "carrier"
    refuses: bool = True
    arrived: list[Attempt] = field(default_factory=list)

    async def send(self, attempt: Attempt) -> Outcome:
        """Refuses or takes it."""
        self.sent.append(attempt)
        if self.refuses:
            return REFUSED
        self.arrived.append(attempt)
        return Delivered("SM1")


@dataclass
class Graveyard:
    """What a test has: the people at work, a carrier of text messages, and the service as olga sees it."""

    local: Local
    carrier: Carrier
    service: DeadLetterService

    async def give_up(self, **given: Any) -> Document:
        """A text message that the carrier refused; its letter, in the store."""
        fields = {"type": "SMS", "address": {"phone": PHONE}, **given}
        self.carrier.refuses = True
        notification_id = await self.local.send(**fields)
        (letter,) = await self.letters(1, notification_id=notification_id)
        self.carrier.refuses = False
        return letter

    async def give_up_many(self, count: int) -> list[Document]:
        """Many of them, to as many people."""
        users = [self.local.somebody() for _ in range(count)]
        await reachable(self.local, users)
        self.carrier.refuses = True
        sent = [
            await self.local.send(type="SMS", user_ids=users[at : at + 1_000])
            for at in range(0, count, 1_000)
        ]
        letters = await self.letters(count, notification_id={"$in": sent})
        self.carrier.refuses = False
        return letters

    async def letters(self, count: int, **where: Any) -> list[Document]:
        """The letters that fit, once there are so many."""

        async def found() -> list[Document]:
            return [row async for row in self.local.db.dead_letters.find(where).sort("_id", 1)]

        return await until(found, lambda rows: len(rows) == count, 40)

    async def letter(self, letter_id: str) -> Document:
        """One letter."""
        row = await self.local.db.dead_letters.find_one({"_id": letter_id})
        assert row is not None
        return row

    def arrivals(self, *letters: Document) -> int:
        """How many messages arrived for these letters."""
        ids = {letter["delivery_id"] for letter in letters}
        return sum(attempt.delivery_id in ids for attempt in self.carrier.arrived)


async def reachable(local: Local, users: Sequence[str]) -> None:
    """Gives each of them a phone number."""
    keys = await People(local.db, local.data_key).keys_or_new(users)
    contact = {"locale": "", "time_zone": "", "update_time": now()}
    await local.db.contacts.insert_many(
        [{"_id": user, "phone": keys[user].seal(PHONE.encode()), **contact} for user in users]
    )


@asynccontextmanager
async def digging(local: Local) -> AsyncIterator[Graveyard]:
    """Dispatch, the channel, the recorder and the undertaker work while the block runs."""
    carrier = Carrier()
    async with (
        local.dispatching(),
        delivering(local, Channel.SMS, carrier),
        local.working(Recorder(local.bus, local.store).run, Undertaker(local.bus, local.store).run),
    ):
        yield Graveyard(local, carrier, DeadLetterService(local.bus, local.db, local.data_key))


def as_operator(name: str = "olga") -> None:
    """From here on this task calls as an operator."""
    auth.set_caller(auth.Principal("operator", name, frozenset(), 0.0))
