"""What deliveries look up about people at the last moment: key, choices, addresses, and what is suppressed.
Nothing is cached, so that an opt-out or an erasure counts at once; what many ask at the same time is one round
trip."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from crown.choices import NOTHING, Choices
from crown.gather import Gather
from crown.notification.v1.types_pb2 import Channel
from crown.people import People
from crown.preferences import Preferences
from crown.recipients import Destination, Recipients
from crown.store import Database
from crown.suppressions import Suppression, Suppressions
from crown.vault import Key


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of somebody on one channel."""

    # None where they were erased.
    key: Key | None
    choices: Choices
    destinations: Sequence[Destination]
    # Their language tag; empty where it is not known.
    locale: str
    # Why nothing is sent to their address; None where nothing speaks against it.
    suppression: Suppression | None


class Lookup:
    """The look-ups of one channel."""

    def __init__(self, db: Database, data_key: Key, channel: Channel.Type.ValueType) -> None:
        self._channel = channel
        self._people = People(db, data_key)
        self._preferences = Preferences(db)
        self._recipients = Recipients(db, self._people)
        self._suppressions = Suppressions(db, data_key)
        # All about a person, by their id.
        self.person: Gather[str, Person] = Gather(self._get_people, parallel=1)
        # By address: why nothing is sent to it; None where nothing speaks against it.
        self.suppression: Gather[str, Suppression | None] = Gather(self._get_suppressions)

    async def _get_people(self, user_ids: list[str]) -> list[Person]:
        wanted = set(user_ids)
        keys, choices, places, locales = await asyncio.gather(
            self._people.keys(wanted),
            self._preferences.choices(wanted),
            self._recipients.destinations(self._channel, wanted),
            self._recipients.locales(wanted),
        )
        suppressed = await self._among([place.address for found in places.values() for place in found])
        return [
            Person(
                keys.get(user_id),
                chosen := choices.get(user_id, NOTHING),
                found := places.get(user_id, []),
                chosen.locale or locales.get(user_id, ""),
                next((suppressed[place.address] for place in found if place.address in suppressed), None),
            )
            for user_id in user_ids
        ]

    async def _get_suppressions(self, addresses: list[str]) -> list[Suppression | None]:
        found = await self._among(addresses)
        return [found.get(address) for address in addresses]

    async def _among(self, addresses: Collection[str]) -> dict[str, Suppression]:
        """Devices have no list of what is suppressed: one that is gone is forgotten."""
        if self._channel == Channel.PUSH or not addresses:
            return {}
        return await self._suppressions.among(self._channel, addresses)
