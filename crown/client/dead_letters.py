"""Deliveries that nobody will try again by themselves, for operators."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from crown.client import keys
from crown.client.calls import Calls
from crown.notification.v1 import dead_letter_service_pb2 as pb
from crown.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub


class DeadLetters:
    """Dead letters. Everything here is made again where an answer got lost."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = DeadLetterServiceStub(channel)
        self._calls = calls

    async def find(
        self, wanted: pb.DeadLetterFilter | None = None, *, page_size: int = 100
    ) -> AsyncIterator[pb.DeadLetterEntry]:
        """Those that fit, the newest first; the open ones where nothing is said."""
        request = pb.ListDeadLettersRequest(filter=wanted, limit=page_size)
        while True:
            page = await self._calls.unary(self._stub.ListDeadLetters, request)
            for entry in page.dead_letters:
                yield entry
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor

    async def get(self, dead_letter_id: str) -> pb.GetDeadLetterResponse:
        """One, with its attempts and what it says. Raises NotFound."""
        request = pb.GetDeadLetterRequest(dead_letter_id=dead_letter_id)
        return await self._calls.unary(self._stub.GetDeadLetter, request)

    async def replay(self, dead_letter_id: str) -> pb.DeadLetterEntry:
        """Has one delivered again; twice is once. Raises NotFound and NotReplayable."""
        request = pb.ReplayDeadLetterRequest(dead_letter_id=dead_letter_id)
        return (await self._calls.unary(self._stub.ReplayDeadLetter, request)).dead_letter

    async def discard(self, dead_letter_id: str) -> pb.DeadLetterEntry:
        """Puts one aside for good. Raises NotFound."""
        request = pb.DiscardDeadLetterRequest(dead_letter_id=dead_letter_id)
        return (await self._calls.unary(self._stub.DiscardDeadLetter, request)).dead_letter

    async def count(self, wanted: pb.DeadLetterFilter) -> int:
        """How many of the open ones fit: what `replay_all` would have delivered again."""
        request = pb.ReplayDeadLettersRequest(filter=wanted, dry_run=True)
        return (await self._calls.unary(self._stub.ReplayDeadLetters, request)).replay.matched

    async def replay_all(
        self, wanted: pb.DeadLetterFilter, *, per_second: int = 50, replay_id: str = ""
    ) -> pb.Replay:
        """Has all of the open ones that fit delivered again, so many a second, in the background; with the same
        `replay_id` it is the same replay."""
        request = pb.ReplayDeadLettersRequest(
            filter=wanted, per_second=per_second, replay_id=keys.given_or_new(replay_id)
        )
        return (await self._calls.unary(self._stub.ReplayDeadLetters, request)).replay

    async def get_replay(self, replay_id: str) -> pb.Replay:
        """How far a replay is. Raises NotFound."""
        request = pb.GetReplayRequest(replay_id=replay_id)
        return (await self._calls.unary(self._stub.GetReplay, request)).replay

    async def cancel_replay(self, replay_id: str) -> pb.Replay:
        """Ends a replay where it is. Raises NotFound."""
        request = pb.CancelReplayRequest(replay_id=replay_id)
        return (await self._calls.unary(self._stub.CancelReplay, request)).replay
