"""A stand-in for StreamNotifications behind a real gRPC server: it takes items, answers some, and then does what a
test scripts for each of the streams in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from crown import problem
from crown.errors import CrownError
from crown.notification.v1 import ingest_service_pb2 as pb
from crown.notification.v1.types_pb2 import NotificationStatus

SERVICE = pb.DESCRIPTOR.services_by_name["IngestService"]


@dataclass
class Turn:
    """One stream: it answers so many items, and has taken one more when it ends with `error`, or breaks off."""

    answers: int = 1_000_000
    error: CrownError | None = None
    # Where given: nothing is answered before it is set.
    go: asyncio.Event | None = None


@dataclass
class StreamSuite:
    """Plays `turns`, and then answers everything. What it took stands in `taken`, by stream."""

    turns: list[Turn] = field(default_factory=list)
    refuse: dict[str, CrownError] = field(default_factory=dict)
    taken: list[list[pb.StreamItem]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def keys(self) -> list[str]:
        """The keys of all that it took, in order."""
        return [item.notification.idempotency_key for items in self.taken for item in items]

    async def _stream(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        turn = self.turns.pop(0) if self.turns else Turn()
        items: list[pb.StreamItem] = []
        self.taken.append(items)
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        try:
            async for request in requests:
                self.sizes.append(len(request.items))
                self.arrived.set()
                if turn.go is not None:
                    await turn.go.wait()
                results: list[pb.StreamResult] = []
                for item in request.items:
                    items.append(item)
                    if len(items) > turn.answers:
                        if results:
                            yield pb.StreamNotificationsResponse(results=results).SerializeToString()
                        await self._end(turn, context)
                    results.append(self._result(item, len(items) - 1))
                yield pb.StreamNotificationsResponse(results=results).SerializeToString()
        finally:
            self.ended.set()

    async def _end(self, turn: Turn, context: Any) -> None:
        if turn.error is not None:
            await context.abort(turn.error.code, turn.error.message, problem.trailers(turn.error, "r"))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    def _result(self, item: pb.StreamItem, position: int) -> pb.StreamResult:
        error = self.refuse.get(item.notification.user_id)
        if error is not None:
            return pb.StreamResult(position=position, error=problem.status(error))
        return pb.StreamResult(
            position=position,
            notification_id=f"of {item.notification.user_id}",
            status=NotificationStatus.ACCEPTED,
        )

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serves on a free port and yields the address."""
        server = grpc.aio.server()
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self._stream, pb.StreamNotificationsRequest.FromString
        )
        methods = {"StreamNotifications": handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)
