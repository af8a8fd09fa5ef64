"""A provider that does as it is told, and engines that work with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from crown.delivery import Engine
from crown.desk import PersonDesk
from crown.ledger import Ledger
from crown.notification.v1.types_pb2 import Channel
from crown.outcome import Delivered, Outcome
from crown.provider import Attempt
from crown.route import Route
from tests.integration.local import Local

# What a send ends with; an exception is raised, a function is asked.
Step = Outcome | Exception | Callable[[Attempt], Awaitable[Outcome]]


@dataclass
class Scripted:
    """Delivers, unless `steps` say otherwise for a person; `found` is what `find` answers about a person."""

    name: str = "scripted"
    steps: dict[str, list[Step]] = field(default_factory=dict)
    found: dict[str, Outcome] = field(default_factory=dict)
    sent: list[Attempt] = field(default_factory=list)
    asked: list[Attempt] = field(default_factory=list)
    slow_s: float = 0.0

    async def send(self, attempt: Attempt) -> Outcome:
        """Writes it down and does as it is told."""
        self.sent.append(attempt)
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        steps = self.steps.get(attempt.user_id)
        step: Step = steps.pop(0) if steps else Delivered(f"id-of-{attempt.user_id}")
        if isinstance(step, Exception):
            raise step
        return await step(attempt) if callable(step) else step

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        """What is written down about this person."""
        self.asked.append(attempt)
        return self.found.get(attempt.user_id)

    async def close(self) -> None:
        """Nothing to close."""

    def sent_to(self, user_id: str) -> list[Attempt]:
        """The attempts for one person."""
        return [attempt for attempt in self.sent if attempt.user_id == user_id]


@asynccontextmanager
async def delivering(
    local: Local, channel: Channel.Type.ValueType, *providers: Scripted, in_flight: int = 128
) -> AsyncIterator[Engine]:
    """An engine works while the block runs."""
    chance = random.Random(7)
    desk, ledger = PersonDesk(channel, local.db, local.data_key), Ledger(local.db)
    engine = Engine(channel, Route(providers), desk, local.bus, local.store, ledger, in_flight, chance)
    async with local.working(engine.run):
        yield engine
