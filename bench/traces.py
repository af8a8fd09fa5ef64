"""What a trace costs: of accepting, the CPU of the process for each call without a collector, and with one for calls
that are sampled and that are not; and what our own code takes of it, step by step."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Sequence

from bench.beside import Server, ingest, own
from bench.child import BenchError, Child
from bench.rounds import middle
from bench.site import Site
from bench.table import Figure
from bench.unary import METHOD, body
from crown import otlp, tracing

_IN_FLIGHT = 64
_CALLS = 20_000
_TRIES = 5
_TRACE, _STEP = "a" * 32, "b" * 16
_SAMPLED, _UNSAMPLED = (f"00-{_TRACE}-{_STEP}-{flags}" for flags in ("01", "00"))
_OFF_MOST_US, _UNSAMPLED_MOST_US, _SAMPLED_MOST_US = 1.0, 10.0, 60.0


async def measure(site: Site) -> list[Figure]:
    """Both ways."""
    async with Child("bench.calls") as load, Child("bench.sink") as sink:
        endpoint = (await sink.ask(10))["endpoint"]
        async with ingest(site, CROWN_OTLP_ENDPOINT=endpoint, CROWN_TRACE_RATIO="0") as traced:
            plain = own(site)
            kinds = (
                ("off", plain, _UNSAMPLED),
                ("unsampled", traced, _UNSAMPLED),
                ("sampled", traced, _SAMPLED),
            )
            found: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
            for number in range(site.rounds):
                # Each is the first as often as the last, as far as rounds go.
                for name, server, context in kinds[number % 3 :] + kinds[: number % 3]:
                    found[name].append(await _us(site, load, server, context))
    return [*_of_calls(found), *_of_steps()]


def _of_calls(found: dict[str, list[float]]) -> list[Figure]:
    off = middle(found["off"])
    names = {
        "unsampled": "accept, with a collector, not sampled",
        "sampled": "accept, with a collector, sampled",
    }
    return [
        Figure(
            title,
            f"{middle(found[name]):.0f} µs CPU",
            f"{off:.0f} µs, without a collector",
            f"{middle(found[name]) / off:.2f}",
            note=f"{_more(found[name], found['off']):+.0f} µs, round by round",
        )
        for name, title in names.items()
    ]


def _more(ours: Sequence[float], plain: Sequence[float]) -> float:
    return middle([mine - other for mine, other in zip(ours, plain, strict=True)])


def _of_steps() -> list[Figure]:
    """Our own code alone: the two steps of accepting."""
    exporter = otlp.Exporter("http://127.0.0.1:9", {}, {})
    made: list[tracing.Span] = []
    off = _step_us(_UNSAMPLED)
    tracing.record(made.append)
    unsampled, sampled = _step_us(_UNSAMPLED), _step_us(_SAMPLED)
    tracing.record(None)
    batch = made[:512]
    written = min(_timed(lambda: exporter._encoded(batch), 4) for _ in range(_TRIES)) / len(batch) * 2
    exporter.close(0)
    rows = (
        ("  of it our own code, without a collector", off, _OFF_MOST_US, ""),
        ("  not sampled", unsampled, _UNSAMPLED_MOST_US, ""),
        (
            "  sampled: two spans",
            sampled + written,
            _SAMPLED_MOST_US,
            f"{sampled:.1f} µs to make them, {written:.1f} to write them down",
        ),
    )
    return [
        Figure(name, f"{took:.2f} µs", reach=f"≤ {most:g} µs", reached=took <= most, note=note)
        for name, took, most, note in rows
    ]


def _step_us(context: str) -> float:
    """Microseconds of what accepting does about its trace, beyond taking it over and handing it on."""

    def once() -> None:
        with tracing.served(context, METHOD):
            tracing.note(notification_id=_STEP, lane="normal", kind="comment")
            with tracing.span("publish intake", tracing.Kind.PRODUCER, lane="normal", count=1):
                pass

    def before() -> None:
        tracing.adopt(context)

    def both() -> float:
        took = min(_timed(once, _CALLS) for _ in range(_TRIES))
        return took - min(_timed(before, _CALLS) for _ in range(_TRIES))

    return contextvars.Context().run(both)


def _timed(work: Callable[[], object], count: int) -> float:
    """Microseconds of CPU for each."""
    began = time.thread_time()
    for _ in range(count):
        work()
    return (time.thread_time() - began) / count * 1e6


async def _us(site: Site, load: Child, server: Server, context: str) -> float:
    before = site.cpu_s(server.pid)
    answer = await load.ask(
        site.warm_s + site.seconds + 20,
        method=METHOD,
        body=body(),
        metadata=[site.bearer(), (tracing.HEADER, context)],
        in_flight=_IN_FLIGHT,
        keyed=False,
        target=server.target,
        warm_s=site.warm_s,
        seconds=site.seconds,
    )
    if answer["failed"] or not answer["made"]:
        raise BenchError(f"calls failed: {answer['failed']}")
    return (site.cpu_s(server.pid) - before) / float(answer["made"]) * 1e6
