"""A provider that does as it is told, and engines that work with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crown.circuit import Limits
from crown.delivery import Engine
from crown.desk import PersonDesk
from crown.judgement import Rules
from crown.ledger import Ledger
from crown.notification.v1.types_pb2 import Channel
from crown.outcome import Delivered, Outcome
from crown.provider import Attempt
from crown.route import Route
from crown.subjects import NAMES
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


# For tests in which providers fail on purpose, and are not out.
FORGIVING = Limits(calls_least=1_000_000)


@asynccontextmanager
async def delivering(
    local: Local,
    channel: Channel.Type.ValueType,
    *providers: Scripted,
    in_flight: int = 128,
    limits: Limits = FORGIVING,
    rules: Rules | None = None,
    **route: Any,
) -> AsyncIterator[Engine]:
    """An engine works while the block runs."""
    made = engine(local, channel, *providers, in_flight=in_flight, limits=limits, rules=rules, **route)
    async with local.working(made.run):
        yield made


def engine(
    local: Local,
    channel: Channel.Type.ValueType,
    *providers: Scripted,
    in_flight: int = 128,
    limits: Limits = FORGIVING,
    rules: Rules | None = None,
    **route: Any,
) -> Engine:
    """An engine with a route over these providers, `route` being what else it is told."""
    chance = random.Random(7)
    way = Route(providers, channel=NAMES[channel], most=in_flight, limits=limits, chance=chance, **route)
    desk, ledger = PersonDesk(channel, local.db, local.data_key), Ledger(local.db)
    return Engine(channel, way, desk, local.bus, local.store, ledger, in_flight, chance, rules)
