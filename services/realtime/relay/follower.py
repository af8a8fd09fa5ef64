"""Follows one feed as long as the process lives: connects, makes notifications of what it says, and connects again
when it is lost. What goes wrong here stays here: other feeds have followers of their own."""

from __future__ import annotations

import asyncio
import random

import aiohttp

from crown import logs, metrics
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from services.realtime.relay import backoff, connection, document, mapping
from services.realtime.relay.connection import Lost, Pace, TooBig
from services.realtime.relay.document import Event, Undecodable
from services.realtime.relay.feed import Feed
from services.realtime.relay.outbox import Outbox
from services.realtime.relay.template import Unmappable

log = logs.get(__name__)


class Follower:
    """Follows `feed` and puts what comes of it into `outbox`."""

    def __init__(
        self,
        feed: Feed,
        http: aiohttp.ClientSession,
        outbox: Outbox,
        pace: Pace = connection.USUAL,
        chance: random.Random | None = None,
    ) -> None:
        self._feed = feed
        self._http = http
        self._outbox = outbox
        self._pace = pace
        self._chance = chance or random.Random()
        self._connected = metrics.RELAY_FEEDS.labels(feed.name)
        self._connected.set(0)
        self._since: float | None = None
        # What was complained of since the connection stands: once is enough.
        self._told: set[tuple[int, str]] = set()

    async def run(self) -> None:
        """Follows until it is cancelled."""
        attempt = 0
        while True:
            why = await self._follow()
            attempt = 1 if self._lived_s() >= self._pace.steady_s else attempt + 1
            delay_s = backoff.delay_s(attempt, self._chance)
            log.warning("feed_lost", feed=self._feed.name, why=why, again_in_s=round(delay_s, 3))
            await asyncio.sleep(delay_s)

    async def receive(self, message: bytes) -> None:
        """Makes notifications of one message. Returns when all of them have found room."""
        try:
            event = Event(document.decode(message))
        except Undecodable:
            self._count("undecodable")
            return
        rule = self._feed.rule_for(event)
        if rule is None:
            self._count("unmatched")
            return
        self._count("matched")
        for made in mapping.requests(self._feed.name, rule, event):
            match made:
                case SendNotificationRequest():
                    await self._outbox.put(made)
                case Unmappable():
                    self._complain(rule.number, str(made))

    async def _follow(self) -> str:
        """One connection, from beginning to end; answers why it ended."""
        self._since = None
        try:
            async with connection.connected(self._http, self._feed, self._pace) as opened:
                log.info("feed_connected", feed=self._feed.name)
                self._connected.set(1)
                self._since = asyncio.get_running_loop().time()
                self._told.clear()
                await opened.listen(self.receive)
        except Lost as lost:
            if isinstance(lost, TooBig):
                self._count("too_big")
            return str(lost)
        except Exception as error:
            log.error("feed_failed", feed=self._feed.name, exc_info=error)
            return type(error).__name__
        finally:
            self._connected.set(0)
        raise AssertionError("not reached: listening ends by raising")

    def _lived_s(self) -> float:
        """How long the last connection stood."""
        return 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since

    def _complain(self, rule: int, path: str) -> None:
        self._count("unmappable")
        if (rule, path) not in self._told:
            self._told.add((rule, path))
            log.warning("event_unmappable", feed=self._feed.name, rule=rule, path=path)

    def _count(self, outcome: str) -> None:
        metrics.RELAY_EVENTS.labels(self._feed.name, outcome).inc()
