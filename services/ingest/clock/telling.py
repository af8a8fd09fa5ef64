"""Tells what was released, as dispatch tells what is new. Content is on the bus under the deployment's data key,
and in the store under each person's: who has a socket to hear it gets it put back."""

from __future__ import annotations

from collections.abc import Mapping

from crown import tracing
from crown.bus import Bus
from crown.notification.v1.events_pb2 import Sealed
from crown.people import People
from crown.store import Document
from crown.vault import Key, VaultError
from services.ingest.clock import releases
from services.ingest.clock.releases import Release
from services.ingest.dispatch.announcer import Announcer
from services.ingest.dispatch.notice import Notice


class Telling:
    """Publishes what follows from releases."""

    def __init__(self, bus: Bus, people: People, data_key: Key) -> None:
        self._announcer = Announcer(bus, data_key)
        self._people = people
        self._data_key = data_key

    async def tell(self, made: list[Release], notifications: Mapping[str, Document]) -> None:
        """Publishes work for the channels, frames for sockets, and words to senders."""
        contents = await self._contents(made, notifications)
        fresh = tracing.fresh()
        notices = [
            Notice(
                releases.announced(release),
                contents.get(release.row["notification_id"], Sealed()),
                bool(notifications.get(release.row["notification_id"], {}).get("webhook_url")),
                release.row.get("trace") or fresh,
            )
            for release in made
            # Whoever's content is gone has been erased.
            if not release.shows or release.row["notification_id"] in contents
        ]
        await self._announcer.announce([notice for notice in notices if notice.row["deliveries"]])

    async def _contents(
        self, made: list[Release], notifications: Mapping[str, Document]
    ) -> dict[str, Sealed]:
        """The contents of what sockets get, by notification. All its rows hold the same key, so that the key of one
        person whose it is opens it for all."""
        shown = [release.row for release in made if release.shows]
        # One of each notification will do, nearly always: somebody's own key may have been destroyed.
        found: dict[str, Sealed] = {}
        rows = {row["notification_id"]: row for row in shown}
        for row in await self._opened(list(rows.values()), notifications, found):
            others = [one for one in shown if one["notification_id"] == row["notification_id"]]
            await self._opened(others, notifications, found)
        return found

    async def _opened(
        self, rows: list[Document], notifications: Mapping[str, Document], found: dict[str, Sealed]
    ) -> list[Document]:
        """Adds what these rows can open to `found`; answers the rows that could not."""
        keys = await self._people.keys({row["user_id"] for row in rows}) if rows else {}
        closed = []
        for row in rows:
            content = notifications.get(row["notification_id"], {}).get("content")
            try:
                wrapped = self._data_key.wrap(keys[row["user_id"]].unwrap(row["wrapped_key"]))
            except (KeyError, VaultError):
                closed.append(row)
                continue
            if content:
                found[row["notification_id"]] = Sealed(ciphertext=content, wrapped_key=wrapped)
        return closed
