"""Hands the notifications of one feed over to ingest: several at once, none before there is room, each until ingest
has said yes or a final no. A repetition carries the same key, so it sends nothing twice."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from crown import logs, metrics
from crown.errors import CrownError, KeyReused
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from services.realtime.relay import backoff
from services.realtime.relay.ingest import may_be_taken_later

log = logs.get(__name__)


class Taker(Protocol):
    """Who takes notifications; see Ingest."""

    async def take(self, request: SendNotificationRequest) -> str:
        """Has it accepted and answers its id. Raises CrownError."""


class Outbox:
    """Up to `most` notifications of `feed` on their way to ingest. `tasks` owns what it starts."""

    def __init__(
        self,
        feed: str,
        ingest: Taker,
        most: int,
        tasks: asyncio.TaskGroup,
        chance: random.Random | None = None,
    ) -> None:
        self._feed = feed
        self._ingest = ingest
        self._room = asyncio.Semaphore(most)
        self._tasks = tasks
        self._chance = chance or random.Random()
        self._open: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many are on their way."""
        return len(self._open)

    async def put(self, request: SendNotificationRequest) -> None:
        """Takes one on its way. Returns once there was room for it."""
        await self._room.acquire()
        task = self._tasks.create_task(self._hand_over(request))
        self._open.add(task)
        task.add_done_callback(self._done)

    async def drain(self, most_s: float) -> int:
        """Waits up to `most_s` seconds for what is on its way, and gives up the rest; answers how many."""
        if not self._open:
            return 0
        _, left = await asyncio.wait(self._open, timeout=most_s)
        for task in left:
            task.cancel()
        return len(left)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._room.release()

    async def _hand_over(self, request: SendNotificationRequest) -> None:
        try:
            outcome = await self._until_settled(request)
        except Exception as error:
            # A bug of ours with one notification must not end the others.
            log.error("hand_over_failed", feed=self._feed, exc_info=error)
            outcome = "failed"
        metrics.RELAYED.labels(self._feed, outcome).inc()

    async def _until_settled(self, request: SendNotificationRequest) -> str:
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._ingest.take(request)
            except CrownError as error:
                if isinstance(error, KeyReused):
                    # The feed tells of the same event in other words; people have heard of it.
                    return "repeated"
                if not may_be_taken_later(error):
                    self._tell(error)
                    return "refused"
                metrics.RELAYED.labels(self._feed, "retried").inc()
                await asyncio.sleep(backoff.delay_s(attempt, self._chance, error.retry_after_s))
            else:
                return "accepted"

    def _tell(self, error: CrownError) -> None:
        # Neither message nor values: they may hold what the feed said.
        fields = [violation.field for violation in error.violations]
        log.warning("notification_refused", feed=self._feed, reason=error.reason, fields=fields)
