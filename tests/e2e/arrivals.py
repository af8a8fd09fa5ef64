"""Where notifications arrive: the ledger of the provider sandbox, and the mailbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.e2e.waiting import until

Item = dict[str, Any]


@dataclass(frozen=True)
class Ledger:
    """What reached the providers."""

    http: aiohttp.ClientSession
    url: str

    async def entries(self, kind: str = "effect", **where: str) -> list[Item]:
        """Effects, refusals or all, oldest first."""
        async with self.http.get(f"{self.url}/ledger", params={"kind": kind, **where}) as answer:
            assert answer.status == 200, await answer.text()
            found = await answer.json()
        names = {"effect": "effects", "refusal": "refusals", "all": "entries"}
        items: list[Item] = found[names[kind]]
        return items

    async def effects(self, notification_id: str, count: int = 1) -> list[Item]:
        """What the notification did, once it did `count` things."""
        return await until(
            lambda: self.entries(notification_id=notification_id), lambda found: len(found) >= count
        )

    async def effect(self, notification_id: str) -> Item:
        """The one thing that the notification did."""
        found = await self.effects(notification_id)
        assert len(found) == 1, found
        return found[0]

    @asynccontextmanager
    async def scripted(
        self, provider: str, recipient: str, times: int = 1, **answer: Any
    ) -> AsyncIterator[None]:
        """The provider answers so to the next calls for `recipient`."""
        order = {"provider": provider, "match": {"recipient": recipient}, "times": times, "answer": answer}
        async with self.http.post(f"{self.url}/script", json=order) as answered:
            assert answered.status == 200, await answered.text()
        yield
        async with self.http.get(f"{self.url}/script") as pending:
            left = [o for o in (await pending.json())["scripts"] if o["match"].get("recipient") == recipient]
        assert not left, f"never asked for: {left}"


@dataclass(frozen=True)
class Mailbox:
    """What arrived by SMTP."""

    http: aiohttp.ClientSession
    url: str

    async def messages(self, **where: str) -> list[Item]:
        """The mail, oldest first."""
        async with self.http.get(f"{self.url}/messages", params=where) as answer:
            assert answer.status == 200, await answer.text()
            found: list[Item] = (await answer.json())["messages"]
        return found

    async def message(self, **where: str) -> Item:
        """The one mail, once it is there."""
        found = await until(lambda: self.messages(**where), bool)
        assert len(found) == 1, found
        return found[0]

    async def script(self, command: str, recipient: str, **answer: Any) -> None:
        """The mailbox answers so to the next `command` for `recipient`."""
        order = {"command": command, "match": {"recipient": recipient}, "times": 1, **answer}
        async with self.http.post(f"{self.url}/script", json=order) as answered:
            assert answered.status == 200, await answered.text()
