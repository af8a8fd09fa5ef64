"""Reads from a stream without a consumer: one request, many messages, and one with a status that ends them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import nats.errors
from nats.aio.msg import Msg

from crown.bus.bus import Bus
from crown.errors import BusUnavailable

# Most subjects that the server tells the last message of at once.
SUBJECTS_MOST = 1_024
_ANSWER_TIMEOUT_S = 3.0
_NOT_FOUND = "404"
_END = "204"

Receive = Callable[[Msg], None]


class Tap:
    """Stands where the NATS client would take a future, and is never done: it then hands over each message in
    the step that read it from the network, without a queue and a task for every subscription."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def cancelled(self) -> bool:
        """Never."""
        return False

    def set_result(self, message: Msg) -> None:
        """Takes one more message."""
        self._receive(message)


class _Asked:
    """One request, and what has come of its answer."""

    __slots__ = ("done", "messages")

    def __init__(self) -> None:
        self.messages: list[Msg] = []
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class Direct:
    """Direct gets of one stream. `start` before all else."""

    def __init__(self, bus: Bus, stream: str) -> None:
        self._bus = bus
        self._call = f"$JS.API.DIRECT.GET.{stream}"
        self._inbox = ""
        self._tokens = itertools.count()
        self._asked: dict[str, _Asked] = {}

    async def start(self) -> None:
        """Listens for answers, from now on and after every reconnect. Raises BusUnavailable."""
        self._inbox = self._bus.client.new_inbox()
        try:
            await self._bus.client.subscribe(f"{self._inbox}.*", future=Tap(self._take))  # type: ignore[arg-type]
        except nats.errors.Error as error:
            raise BusUnavailable(f"the bus is away ({type(error).__name__})") from error

    async def last(self, subjects: Sequence[str]) -> dict[str, Msg]:
        """The last message of each of `subjects`, at most 1,024, that has one. Raises BusUnavailable."""
        found = await self._ask({"multi_last": list(subjects), "batch": len(subjects)})
        return {header(message, "Nats-Subject"): message for message in found}

    async def after(self, subject: str, sequence: int, most: int) -> list[Msg]:
        """The first `most` messages of `subject`, which may have wildcards, from `sequence` on. Raises
        BusUnavailable."""
        return await self._ask({"seq": max(sequence, 1), "next_by_subj": subject, "batch": most})

    async def _ask(self, request: Mapping[str, Any]) -> list[Msg]:
        if not self._bus.connected:
            raise BusUnavailable("the bus is away; try again")
        token, asked = str(next(self._tokens)), _Asked()
        self._asked[token] = asked
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                reply = f"{self._inbox}.{token}"
                await self._bus.client.publish(self._call, msgspec.json.encode(request), reply)
                status = await asked.done
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable(f"the bus does not answer ({type(error).__name__})") from error
        finally:
            del self._asked[token]
        if status not in {_END, _NOT_FOUND}:
            raise BusUnavailable(f"the bus does not say what it keeps ({status})")
        return asked.messages

    def _take(self, message: Msg) -> None:
        asked = self._asked.get(message.subject.rpartition(".")[2])
        if asked is None:
            return  # its caller gave up
        status = (message.headers or {}).get("Status")
        if status is None:
            asked.messages.append(message)
        elif not asked.done.done():
            asked.done.set_result(status)


def header(message: Msg, name: str) -> str:
    """A header of a stored message; empty where it has none of that name."""
    return (message.headers or {}).get(name, "")


def sequence(message: Msg) -> int:
    """The place of a stored message in its stream; 0 where it does not say."""
    text = header(message, "Nats-Sequence")
    return int(text) if text.isdecimal() else 0
