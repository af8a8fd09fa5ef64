"""What deliveries look up about people at the last moment: key, choices, addresses, and what is suppressed.
Nothing is cached, so that an opt-out or an erasure counts at once; what many ask at the same time is one round
trip."""

from __future__ import annotations

from crown.gather import Gather
from crown.notification.v1.types_pb2 import Channel
from crown.people import People
from crown.preferences import Choices, Preferences
from crown.recipients import Destination, Recipients
from crown.store import Database
from crown.suppressions import Suppression, Suppressions
from crown.vault import Key


class Lookup:
    """The look-ups of one channel."""

    def __init__(self, db: Database, data_key: Key, channel: Channel.Type.ValueType) -> None:
        self._channel = channel
        self._people = People(db, data_key)
        self._preferences = Preferences(db)
        self._recipients = Recipients(db, self._people)
        self._suppressions = Suppressions(db, data_key)
        # The person's key; None where they were erased.
        self.key: Gather[str, Key | None] = Gather(self._keys)
        # What the person chose.
        self.choices: Gather[str, Choices] = Gather(self._get_choices)
        # Where the person is reached on this channel.
        self.destinations: Gather[str, list[Destination]] = Gather(self._get_destinations)
        # The person's language tag; empty where it is not known.
        self.locale: Gather[str, str] = Gather(self._get_locales)
        # By address: why nothing is sent to it; None where nothing speaks against it.
        self.suppression: Gather[str, Suppression | None] = Gather(self._get_suppressions)

    async def _keys(self, user_ids: list[str]) -> list[Key | None]:
        found = await self._people.keys(set(user_ids))
        return [found.get(user_id) for user_id in user_ids]

    async def _get_choices(self, user_ids: list[str]) -> list[Choices]:
        found = await self._preferences.choices(set(user_ids))
        return [found.get(user_id, {}) for user_id in user_ids]

    async def _get_destinations(self, user_ids: list[str]) -> list[list[Destination]]:
        found = await self._recipients.destinations(self._channel, set(user_ids))
        return [found.get(user_id, []) for user_id in user_ids]

    async def _get_locales(self, user_ids: list[str]) -> list[str]:
        found = await self._recipients.locales(set(user_ids))
        return [found.get(user_id, "") for user_id in user_ids]

    async def _get_suppressions(self, addresses: list[str]) -> list[Suppression | None]:
        found = await self._suppressions.among(self._channel, set(addresses))
        return [found.get(address) for address in addresses]
