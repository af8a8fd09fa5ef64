"""Spans on their way to a collector: what they say there, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from crown import otlp, tracing
from crown.otlp import Exporter
from crown.tracing import Kind
from tests.collector import Collector, collecting

TRACE = "a" * 32
PARENT = f"00-{TRACE}-{'b' * 16}-01"
OTHER = f"00-{'c' * 32}-{'d' * 16}-01"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as found:
        yield found


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address where nobody answers: connections are taken by the kernel and never served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True)
def off() -> Iterator[None]:
    """Nothing is recorded when a test is over."""
    yield
    tracing.record(None)


def made(name: str = "step") -> None:
    tracing.span(name, Kind.CLIENT, PARENT).end()


async def closed(exporter: Exporter, within_s: float = 5.0) -> None:
    await asyncio.to_thread(exporter.close, within_s)


async def test_a_span_arrives_as_it_was(collector: Collector) -> None:
    resource = otlp.resource("email", "region=eu%2C1,service.name=mine")
    exporter = Exporter(f"{collector.endpoint}/", {"x-key": "k"}, resource)
    tracing.record(exporter)
    step = tracing.span("send", Kind.CLIENT, PARENT, [OTHER], channel="email", attempt=2, reason="")
    step.set(rpc_status="UNAVAILABLE")
    step.fail()
    step.end()
    step.end()
    await closed(exporter)
    (span,) = collector.spans
    assert (span.service, span.name, span.kind) == ("email", "send", 3)
    assert (span.trace_id, span.parent, span.span_id) == (TRACE, "b" * 16, step.context[36:52])
    assert span.attributes == {
        "crown.channel": "email",
        "crown.attempt": 2,
        "rpc.response.status_code": "UNAVAILABLE",
    }
    assert span.links == ("c" * 32,)
    assert span.failed
    assert 0 < span.begin_ns <= span.end_ns
    assert collector.headers[0]["x-key"] == "k"
    assert resource["region"] == "eu,1"


async def test_while_the_collector_is_away_nothing_is_slow_and_the_queue_is_bound(nowhere: str) -> None:
    exporter = Exporter(nowhere, {}, {}, queue=100)
    tracing.record(exporter)
    began = time.monotonic()
    for _ in range(10_000):
        made()
    assert time.monotonic() - began < 5
    assert len(exporter._waiting) <= 100
    began = time.monotonic()
    await closed(exporter, 0.2)
    assert time.monotonic() - began < 3


async def test_what_waited_arrives_when_the_collector_is_back(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "_PERIOD_S", 0.01)
    collector.status = 503
    exporter = Exporter(collector.endpoint, {}, {})
    tracing.record(exporter)
    made()
    await collector.asked()
    collector.status = 200
    assert [span.name for span in await collector.named(TRACE, ["step"])] == ["step"]
    await closed(exporter)


async def test_what_a_collector_refuses_is_not_sent_again(collector: Collector) -> None:
    collector.status = 400
    exporter = Exporter(collector.endpoint, {}, {})
    tracing.record(exporter)
    made()
    await closed(exporter)
    assert len(collector.headers) == 1


async def test_many_go_in_several_requests(collector: Collector) -> None:
    exporter = Exporter(collector.endpoint, {}, {})
    tracing.record(exporter)
    for _ in range(1_200):
        made()
    await closed(exporter)
    assert len(collector.spans) == 1_200
    assert len({span.span_id for span in collector.spans}) == 1_200
    assert len(collector.headers) >= 3


@pytest.mark.parametrize(
    ("endpoint", "loaded"), [("", False), ("http://127.0.0.1:9", True)], ids=["without", "with"]
)
def test_without_a_collector_nothing_of_it_is_loaded(endpoint: str, loaded: bool) -> None:
    code = (
        "import sys\n"
        "from crown import rpc, tracing\n"
        "from crown.settings import ProcessSettings\n"
        "with rpc._traced('x', ProcessSettings.load()):\n"
        "    print(any(name.startswith(('crown.otlp', 'opentelemetry')) for name in sys.modules))\n"
        "    print(bool(tracing.span('x', tracing.Kind.CLIENT, sys.argv[1])))\n"
    )
    environment = {"CROWN_OTLP_ENDPOINT": endpoint}
    found = subprocess.run(
        [sys.executable, "-c", code, PARENT], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split()[:2] == [str(loaded)] * 2
