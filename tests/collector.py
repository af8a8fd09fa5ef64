"""An OpenTelemetry collector, as far as tests need one: takes spans by OTLP over HTTP and keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

WAIT_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it came; ids are hexadecimal, and `service` is who sent it."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    attributes: dict[str, str | int]
    links: tuple[str, ...]
    failed: bool
    begin_ns: int
    end_ns: int


@dataclass(slots=True)
class Collector:
    """Spans that came, and the headers of each request. `status` is answered; `gate` lets answers through."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, trace_id: str) -> list[Span]:
        """The spans of a trace, in the order of their beginnings."""
        return sorted((one for one in self.spans if one.trace_id == trace_id), key=lambda one: one.begin_ns)

    async def named(self, trace_id: str, names: Iterable[str]) -> list[Span]:
        """The spans of a trace, once each of `names` has come, as often as it is there."""
        wanted = sorted(names)
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                while not _has(found := self.of(trace_id), wanted):
                    await self._arrived.wait()
                    self._arrived.clear()
        except TimeoutError:
            raise AssertionError(f"there are {[one.name for one in found]}, and not {wanted}") from None
        return found

    async def asked(self) -> None:
        """Returns when a request has come, whatever it was answered."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            while not self.headers:
                await self._arrived.wait()
                self._arrived.clear()

    async def handle(self, request: web.Request) -> web.Response:
        """POST /v1/traces."""
        body = await request.read()
        await self.gate.wait()
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.status == 200:
            self.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
        self._arrived.set()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(status=self.status, body=answer, content_type="application/x-protobuf")


@asynccontextmanager
async def collecting(port: int = 0) -> AsyncIterator[Collector]:
    """A collector on loopback."""
    found = Collector()
    found.gate.set()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/traces", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    found.endpoint = "http://127.0.0.1:{1}".format(*runner.addresses[0])
    try:
        yield found
    finally:
        found.gate.set()
        await runner.cleanup()


def _has(found: list[Span], wanted: list[str]) -> bool:
    left = [one.name for one in found]
    for name in wanted:
        if name not in left:
            return False
        left.remove(name)
    return True


def _spans(request: ExportTraceServiceRequest) -> Iterable[Span]:
    for resource in request.resource_spans:
        service = str(_values(resource.resource.attributes).get("service.name", ""))
        for scope in resource.scope_spans:
            for one in scope.spans:
                yield Span(
                    service=service,
                    name=one.name,
                    kind=one.kind,
                    trace_id=one.trace_id.hex(),
                    span_id=one.span_id.hex(),
                    parent=one.parent_span_id.hex(),
                    attributes=_values(one.attributes),
                    links=tuple(link.trace_id.hex() for link in one.links),
                    failed=one.status.code == pb.Status.STATUS_CODE_ERROR,
                    begin_ns=one.start_time_unix_nano,
                    end_ns=one.end_time_unix_nano,
                )


def _values(found: Iterable[KeyValue]) -> dict[str, str | int]:
    return {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value
        for one in found
    }
