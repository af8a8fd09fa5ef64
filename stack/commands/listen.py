"""`crown listen`: prints what the sockets of a user get, a JSON line an event."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from stack.control import Stack
from stack.phoenix import joined
from stack.plan import GATEWAY


def main(stack: Stack, user: str, count: int) -> None:
    """Prints until `count` events have come, or for ever where it is 0. Raises StackError."""
    asyncio.run(_listen(stack.address(GATEWAY), user, stack.token(user=user), count))


async def _listen(gateway: str, user: str, token: str, count: int) -> None:
    async with aiohttp.ClientSession() as http, joined(http, gateway, user, token) as socket:
        seen = 0
        async for event, payload in socket:
            print(json.dumps({"event": event, "payload": payload}, ensure_ascii=False), flush=True)
            seen += 1
            if seen == count:
                return
