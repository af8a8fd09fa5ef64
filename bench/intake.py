"""Looks into the intake from outside: what was answered "accepted" has to be there."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext

from bench.child import BenchError
from crown import subjects

CONNECT_LIMIT_S = 5


async def connect(given: Mapping[str, str]) -> Client:
    """A connection as `Site.nats` describes it."""
    return await nats.connect(
        given["url"], user=given["user"], password=given["password"], connect_timeout=CONNECT_LIMIT_S
    )


class Intake:
    """The streams of accepted notifications."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._client: Client | None = None

    async def __aenter__(self) -> Intake:
        self._client = await connect(self._given)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._client is not None
        await self._client.close()

    @property
    def jetstream(self) -> JetStreamContext:
        """For what is not here."""
        assert self._client is not None
        return self._client.jetstream()

    async def count(self) -> int:
        """Messages that were ever stored, in all lanes."""
        total = 0
        for lane in subjects.LANES.values():
            total += (await self.jetstream.stream_info(subjects.intake_stream(lane))).state.last_seq
        return total

    async def last(self, lane: str, count: int) -> list[bytes]:
        """The last `count` messages of a lane, as they are stored."""
        stream = subjects.intake_stream(lane)
        end = (await self.jetstream.stream_info(stream)).state.last_seq
        found = [await self.jetstream.get_msg(stream, number) for number in range(end - count + 1, end + 1)]
        return [message.data or b"" for message in found]

    async def must_have(self, count: int) -> None:
        """Raises BenchError where fewer are stored than were accepted: such figures would be worth nothing."""
        found = await self.count()
        if found < count:
            raise BenchError(f"{count} messages were accepted and {found} are in the intake")
