"""Each person's own key, made when they are first written about. What they are sent and where they can be
reached is stored under it; destroying it makes all of that unreadable."""

from __future__ import annotations

from collections.abc import Collection

from crown.clock import now
from crown.erasures import is_pseudonym
from crown.store import Database, insert_new
from crown.vault import Key, VaultError


class People:
    """The people's keys, wrapped under the deployment's data key."""

    def __init__(self, db: Database, data_key: Key) -> None:
        self._people = db.people
        self._data_key = data_key

    async def keys(self, user_ids: Collection[str]) -> dict[str, Key]:
        """The keys of those who have one."""
        found = await self._people.find({"_id": {"$in": list(user_ids)}}, {"key": 1}).to_list()
        return {row["_id"]: self._data_key.unwrap(row["key"]) for row in found}

    async def keys_or_new(self, user_ids: Collection[str]) -> dict[str, Key]:
        """The keys of all of them; who has none gets one. Two callers at once end up with the same key."""
        known = await self.keys(user_ids)
        missing = [user_id for user_id in user_ids if user_id not in known]
        # Who was erased gets a key that nobody keeps.
        known.update({user_id: Key.fresh() for user_id in missing if is_pseudonym(user_id)})
        missing = [user_id for user_id in missing if user_id not in known]
        if missing:
            moment = now()
            fresh = [
                {"_id": user_id, "key": self._data_key.wrap(Key.fresh()), "create_time": moment}
                for user_id in missing
            ]
            await insert_new(self._people, fresh)
            known.update(await self.keys(missing))
        return known


def opened(key: Key | None, sealed: bytes | None) -> str:
    """What was sealed for a person, as text; empty where it or the key is gone."""
    if key is None or not sealed:
        return ""
    try:
        return key.open(sealed).decode()
    except VaultError:
        return ""
