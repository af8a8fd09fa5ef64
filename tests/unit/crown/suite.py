"""A stand-in for the suite behind a real gRPC server: it records calls and does what a test scripts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from crown import problem
from crown.errors import CrownError
from crown.notification.v1 import books_service_pb2 as books
from crown.notification.v1 import contact_service_pb2 as contacts
from crown.notification.v1 import dead_letter_service_pb2 as dead_letters
from crown.notification.v1 import device_service_pb2 as devices
from crown.notification.v1 import email_service_pb2 as emails
from crown.notification.v1 import group_service_pb2 as groups
from crown.notification.v1 import inbox_service_pb2 as inbox
from crown.notification.v1 import ingest_service_pb2 as ingest
from crown.notification.v1 import person_service_pb2 as people
from crown.notification.v1 import preference_service_pb2 as preferences
from crown.notification.v1 import push_service_pb2 as pushes
from crown.notification.v1 import realtime_service_pb2 as realtime
from crown.notification.v1 import schedule_service_pb2 as schedules
from crown.notification.v1 import sms_service_pb2 as texts
from crown.notification.v1 import status_service_pb2 as status
from crown.notification.v1 import suppression_service_pb2 as suppressions
from crown.notification.v1 import template_service_pb2 as templates

_FILES = (
    books, contacts, dead_letters, devices, emails, groups, inbox, ingest, people, preferences, pushes, realtime,
    schedules, texts, status, suppressions, templates,
)  # fmt: skip


class Hang:
    """A call that is never answered."""


class Break:
    """A call whose connection breaks: gRPC's own word, without details of ours."""


class Suite:
    """Plays `script` one step a call: an answer, a CrownError, Hang or Break. `calls` holds (method, request,
    metadata, seconds that the caller gave) of each."""

    def __init__(self, *script: Any) -> None:
        self.script = deque(script)
        self.calls: list[tuple[str, Any, dict[str, Any], float | None]] = []

    @property
    def requests(self) -> list[Any]:
        return [request for _, request, _, _ in self.calls]

    async def _play(self, method: str, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        self.calls.append((method, request, metadata, context.time_remaining()))
        match self.script.popleft():
            case CrownError() as error:
                await context.abort(error.code, error.message, problem.trailers(error, "r"))
            case Hang():
                await asyncio.Event().wait()
            case Break():
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            case answer:
                return answer
        raise AssertionError("not reached: abort raises, and nobody answers a hanging call")

    def _handler(self, method: Any) -> Any:
        module = next(file for file in _FILES if hasattr(file, method.input_type.name))
        decode = getattr(module, method.input_type.name).FromString

        async def unary(request: Any, context: Any) -> Any:
            return await self._play(method.name, request, context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            while True:
                yield await self._play(method.name, request, context)

        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(
                stream, decode, lambda answer: answer.SerializeToString()
            )
        return grpc.unary_unary_rpc_method_handler(unary, decode, lambda answer: answer.SerializeToString())

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serves on a free port and yields the address."""
        server = grpc.aio.server()
        for file in _FILES:
            for service in file.DESCRIPTOR.services_by_name.values():
                methods = {method.name: self._handler(method) for method in service.methods}
                handler = grpc.method_handlers_generic_handler(service.full_name, methods)
                server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)
