"""Who waits for an answer on the bus: one subscription for all of them, and a subject below it for each."""

from __future__ import annotations

import asyncio
import itertools

from nats.aio.client import Client
from nats.aio.msg import Msg

from crown.errors import BusUnavailable


class Replies:
    """The questions under way."""

    def __init__(self) -> None:
        self._inbox = ""
        self._tokens = itertools.count()
        # By where the answer goes: the subject that was asked, and who waits.
        self._waiting: dict[str, tuple[str, asyncio.Future[Msg]]] = {}

    async def listen(self, client: Client) -> None:
        """Hears answers from now on. Raises what the client raises."""
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._hear)

    def expect(self, subject: str) -> tuple[str, asyncio.Future[Msg]]:
        """Where the answer to what is now asked at `subject` has to go, and what waits for it. `forget` it in the
        end."""
        reply = f"{self._inbox}.{next(self._tokens)}"
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = subject, future
        return reply, future

    def forget(self, reply: str) -> None:
        """Nobody waits for this one any more."""
        self._waiting.pop(reply, None)

    def refuse(self, subject: str) -> None:
        """NATS takes nothing at `subject` from this user: who asked there hears BusUnavailable, for no answer will
        come. The client tells of it in small letters, whatever the subject's are."""
        for asked, future in self._waiting.values():
            if asked.lower() == subject.lower() and not future.done():
                future.set_exception(BusUnavailable("NATS does not let this user publish there"))

    async def _hear(self, answer: Msg) -> None:
        _, future = self._waiting.get(answer.subject, ("", None))
        if future is not None and not future.done():
            future.set_result(answer)
