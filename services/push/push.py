"""Push as one provider: what a device is decides how it is reached, tokens and installation ids by Firebase, browsers
that subscribed with us directly. Several accounts of Firebase are several of these, and the route chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from pymongo.errors import PyMongoError

from crown import ids, logs
from crown.clock import Clock, now
from crown.notification.v1.types_pb2 import DeviceKind
from crown.outcome import Outcome, Retry
from crown.provider import Attempt
from crown.recipients import Destination
from crown.rendering import Links
from services.push.message import Message, compose
from services.push.together import Gone, apart, together

log = logs.get(__name__)

# A push without a badge is better than one that waits.
_BADGE_TIMEOUT_S = 1.0

# Removes devices, by their ids, that are gone.
Forget = Callable[[Collection[str]], Awaitable[None]]
# How many notifications a person has not read.
Badge = Callable[[str], Awaitable[int]]


class Carrier(Protocol):
    """Carries a message to devices of one sort."""

    async def send(self, message: Message, places: Sequence[Destination]) -> list[Outcome | Gone]:
        """Sends to each of `places`; one result for each, in order. Never raises for what a provider did."""

    async def close(self) -> None:
        """Closes its connections."""


class Push:
    """One account of Firebase, and browsers; None where browsers are not reached."""

    def __init__(
        self,
        name: str,
        fcm: Carrier,
        web_push: Carrier | None,
        links: Links,
        badge: Badge,
        forget: Forget,
        clock: Clock = now,
    ) -> None:
        self.name = name
        self._fcm = fcm
        self._web_push = web_push
        self._links = links
        self._badge = badge
        self._forget = forget
        self._clock = clock

    async def send(self, attempt: Attempt) -> Outcome:
        """Sends to every destination, and forgets the devices that are gone."""
        badge = await self._count(attempt.user_id)
        message = compose(attempt, self._links, self._clock(), badge)
        browsers = [place for place in attempt.destinations if place.kind == DeviceKind.WEB_PUSH]
        if not browsers:
            results = await self._carry(self._fcm, message, attempt.destinations)
        else:
            apps = [place for place in attempt.destinations if place.kind != DeviceKind.WEB_PUSH]
            both = (self._carry(self._fcm, message, apps), self._carry(self._web_push, message, browsers))
            by_apps, by_browsers = await asyncio.gather(*both)
            # Each browser has a push service of its own: one that is out must not stop all other pushes.
            results = by_apps | {id: apart(result) for id, result in by_browsers.items()}
        await self._drop([p for p in attempt.destinations if isinstance(results[p.id], Gone)])
        return together(results)

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        """None: nobody tells what they took. A repetition collapses on the device."""
        del attempt, since
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await self._fcm.close()
        if self._web_push is not None:
            await self._web_push.close()

    async def _carry(
        self, carrier: Carrier | None, message: Message, places: Sequence[Destination]
    ) -> dict[str, Outcome | Gone]:
        if not places:
            return {}
        if carrier is None:
            # The settings are wrong, not the message: there was a key when these browsers subscribed.
            return {place.id: Retry("WEB_PUSH_NOT_SET_UP") for place in places}
        results = await carrier.send(message, places)
        return {place.id: result for place, result in zip(places, results, strict=True)}

    async def _count(self, user_id: str) -> int | None:
        if not user_id:
            return None
        try:
            async with asyncio.timeout(_BADGE_TIMEOUT_S):
                return await self._badge(user_id)
        except (PyMongoError, TimeoutError) as error:
            log.warning("badge_not_known", error=type(error).__name__)
            return None

    async def _drop(self, places: Sequence[Destination]) -> None:
        if not places:
            return
        try:
            await self._forget([ids.device(place.address) for place in places])
        except PyMongoError as error:
            # They will be found gone again by the next message.
            log.warning("devices_not_forgotten", count=len(places), error=type(error).__name__)
