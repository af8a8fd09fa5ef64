"""All that is held about one person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime

import grpc

from crown.client.calls import Calls
from crown.clock import moment
from crown.notification.v1 import person_service_pb2 as pb
from crown.notification.v1.person_service_pb2_grpc import PersonServiceStub


class People:
    """Erasing and exporting people."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = PersonServiceStub(channel)
        self._calls = calls

    async def erase(self, user_id: str) -> datetime:
        """Erases a person, and answers up to when. Twice is once, so it is made again where an answer got lost."""
        answer = await self._calls.unary(self._stub.ErasePerson, pb.ErasePersonRequest(user_id=user_id))
        return moment(answer.erase_time)

    async def export(self, user_id: str) -> AsyncIterator[bytes]:
        """One JSON document of all that is held, in parts. Where it breaks off an error is raised: ask again."""
        request = pb.ExportPersonRequest(user_id=user_id)
        async with aclosing(self._calls.stream(self._stub.ExportPerson, request)) as parts:
            async for part in parts:
                yield part.data
