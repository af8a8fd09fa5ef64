"""Gives the people of the examples an address on every channel, so that a pasted request arrives, and a chat in which
they meet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp

from stack.errors import StackError

_LIMIT = aiohttp.ClientTimeout(total=15)


@dataclass(frozen=True, slots=True)
class Person:
    user_id: str
    email: str
    phone: str
    device_token: str


LOBBY = "lobby"
PEOPLE = tuple(
    Person(
        user_id=user_id,
        email=f"{user_id}@crown.example",
        phone=f"+1202555{number:04d}",  # 555-01xx is kept free for fiction
        device_token=f"device-of-{user_id}",
    )
    for number, user_id in enumerate(("user123", "user1", "user2", "user3"), start=100)
)


def seed(gateway: str, token: str) -> None:
    """Writes through the REST API at `gateway` (host:port). Raises StackError with what the API refused."""
    asyncio.run(_seed(f"http://{gateway}", token))


async def _seed(url: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(url, headers=headers, timeout=_LIMIT) as session:
        for person in PEOPLE:
            await _write(session, person)
        lobby = f"/api/v1/groups/{LOBBY}"
        await _must(session, "PUT", lobby, {"kind": "CHAT", "client_events": True})
        await _must(session, "POST", f"{lobby}/members", {"user_ids": [person.user_id for person in PEOPLE]})


async def _write(session: aiohttp.ClientSession, person: Person) -> None:
    path = f"/api/v1/users/{person.user_id}"
    contact = {"email": person.email, "phone": person.phone, "locale": "en", "time_zone": "Europe/London"}
    device = {"token": person.device_token, "kind": "TOKEN", "platform": "ANDROID"}
    await _must(session, "PUT", f"{path}/contact", contact)
    await _must(session, "POST", f"{path}/devices", device)


async def _must(session: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any]) -> None:
    try:
        async with session.request(method, path, json=body) as answer:
            if answer.status != 200:
                text = (await answer.text())[:300]
                raise StackError(f"seeding: {method} {path} answered {answer.status}: {text}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise StackError(f"seeding: {method} {path}: {error or 'no answer in time'}") from error
