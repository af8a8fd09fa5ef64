"""Sends spans to a collector by OTLP over HTTP (protobuf). A thread of its own takes what has ended, a few hundred
at a time. While the collector is away, or slower than spans come, the queue fills, and what is more is lost: spans
are told of, and nothing else waits for them.

Not the exporter of OpenTelemetry's SDK, whose spans cost three times as much: docs/traces.md has the figures."""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as pb

from crown import logs
from crown.tracing import Span, Value, trace_id

log = logs.get(__name__)

QUEUE_MOST = 4_096
_BATCH_MOST = 512
# Seconds that a span waits at most before it goes out.
_PERIOD_S = 1.0
_TIMEOUT_S = 10.0
# Seconds between two tries while the collector is away: twice as long each time, up to this.
_PAUSE_MOST_S = 30.0
# Spans that are written down before the thread lets others run.
_SLICE = 16
# Answers that mean: the same again, later. All others that are no yes are final.
_AGAIN = frozenset({429, 502, 503, 504})
_PATH = "/v1/traces"


class Exporter:
    """Call it with each span that has ended. `endpoint` is the collector's address without a path; `headers` go
    with each request."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        resource: Mapping[str, Value],
        queue: int = QUEUE_MOST,
    ) -> None:
        self._url = endpoint.rstrip("/") + _PATH
        self._headers = {**headers, "Content-Type": "application/x-protobuf", "User-Agent": "crown"}
        self._resource = Resource(attributes=_attributes(resource.items()))
        # As all our calls: past the proxies that the environment names.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._waiting: deque[Span] = deque()
        self._most = queue
        self._lost = 0
        self._away = False
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def __call__(self, span: Span) -> None:
        """Takes a span; drops it where too many wait."""
        if len(self._waiting) >= self._most:
            self._lost += 1
            return
        self._waiting.append(span)
        if len(self._waiting) == _BATCH_MOST:
            self._wake.set()

    def close(self, within_s: float) -> None:
        """Sends what waits, as far as that is done `within_s` seconds."""
        self._ended = True
        self._wake.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(_PERIOD_S)
            self._wake.clear()
            self._send_waiting()
        self._send_waiting()

    def _send_waiting(self) -> None:
        if self._lost:
            log.warning("spans_lost", count=self._lost)
            self._lost = 0
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH_MOST))]
            self._deliver(batch)

    def _deliver(self, batch: Sequence[Span]) -> None:
        """Sends a batch, again and again while the collector is away; until we end."""
        body = self._encoded(batch)
        pause_s = _PERIOD_S
        while not self._post(body):
            if self._ended:
                return
            self._wake.wait(pause_s)
            self._wake.clear()
            pause_s = min(2 * pause_s, _PAUSE_MOST_S)

    def _post(self, body: bytes) -> bool:
        """True where the collector has it, or never will."""
        request = urllib.request.Request(self._url, body, self._headers)  # noqa: S310 -- checked in settings
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _AGAIN:
                return self._missed(str(error.code))
            log.warning("spans_refused", status=error.code)
            return True
        except OSError as error:
            return self._missed(type(error).__name__)
        if self._away:
            self._away = False
            log.info("collector_back")
        return True

    def _missed(self, error: str) -> bool:
        if not self._away:
            self._away = True
            log.warning("collector_away", error=error)
        return False

    def _encoded(self, batch: Iterable[Span]) -> bytes:
        scope = pb.ScopeSpans()
        scope.scope.name = "crown"
        for number, span in enumerate(batch):
            _write(span, scope.spans.add())
            if number % _SLICE == _SLICE - 1:
                # The calls of others go on in between.
                time.sleep(0)
        found = pb.ResourceSpans(resource=self._resource, scope_spans=[scope])
        return ExportTraceServiceRequest(resource_spans=[found]).SerializeToString()


def resource(service: str, more: str) -> dict[str, Value]:
    """What is said of this process: `more`, as OpenTelemetry writes attributes, and over it what we know."""
    return {
        **pairs(more),
        "service.name": service,
        "service.namespace": "crown",
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "process.runtime.version": platform.python_version(),
    }


def pairs(text: str) -> dict[str, str]:
    """`name=value,name=value` with percent signs, as OpenTelemetry writes headers and attributes."""
    found = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip(): unquote(value.strip()) for name, _, value in found}


def _write(span: Span, found: pb.Span) -> None:
    context, parent = span.context, span.parent
    found.trace_id = bytes.fromhex(trace_id(context))
    found.span_id = bytes.fromhex(context[36:52])
    if parent:
        found.parent_span_id = bytes.fromhex(parent[36:52])
    found.flags = 1
    found.name = span.name
    found.kind = span.kind  # type: ignore[assignment]
    found.start_time_unix_nano = span.begin_ns
    found.end_time_unix_nano = span.end_ns
    for name, value in span.attributes.items():
        if value != "":
            _set(found.attributes.add(), _key(name), value)
    for link in span.links:
        found.links.add(trace_id=bytes.fromhex(trace_id(link)), span_id=bytes.fromhex(link[36:52]))
    if span.failed:
        found.status.code = pb.Status.STATUS_CODE_ERROR


def _key(name: str) -> str:
    """Ours are `crown.…`; what OpenTelemetry has a name for has that."""
    return _KNOWN.get(name) or f"crown.{name}"


_KNOWN = {"rpc_status": "rpc.response.status_code", "error": "error.type"}


def _attributes(found: Iterable[tuple[str, Value]]) -> list[KeyValue]:
    made = []
    for name, value in found:
        one = KeyValue()
        _set(one, name, value)
        made.append(one)
    return made


def _set(found: KeyValue, name: str, value: Value) -> None:
    found.key = name
    if isinstance(value, int):
        found.value.int_value = value
    else:
        found.value.string_value = value
