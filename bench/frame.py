"""From a POST at the gateway to the frame on a socket, one at a time on an idle machine, beside a bare publish to
a subscriber of NATS."""

from __future__ import annotations

from collections.abc import Sequence

from bench.child import Child
from bench.latency import Latencies
from bench.rounds import in_turn, middle, ratio
from bench.site import Site
from bench.table import Figure
from stack.plan import GATEWAY

USER = "user123"
GAP_S = 0.005
P50_MOST_MS = 5.0
P99_MOST_MS = 15.0

_Pairs = Sequence[tuple[Latencies, Latencies]]


async def measure(site: Site) -> list[Figure]:
    """Median and tail."""
    count = 100 if site.quick else 500
    async with Child("bench.arrivals") as watch:
        await watch.ask(20, open=_order(site))
        await watch.ask(60, who="person", count=20, gap_s=GAP_S)
        await watch.ask(60, who="bare", count=20, gap_s=GAP_S)

        async def take(who: str) -> Latencies:
            answer = await watch.ask(120, who=who, count=count, gap_s=GAP_S)
            return Latencies.read(answer["latencies"])

        pairs = await in_turn(lambda: take("person"), lambda: take("bare"), site.rounds)
    return [
        _figure("REST POST → WebSocket frame, p50", pairs, 50, P50_MOST_MS),
        _figure("  p99", pairs, 99, P99_MOST_MS),
    ]


def _order(site: Site) -> dict[str, object]:
    return {
        "gateway": site.stack.address(GATEWAY),
        "user_id": USER,
        "user_token": site.stack.token(user=USER),
        "bearer": site.bearer()[1],
        "nats": site.nats(),
    }


def _figure(name: str, pairs: _Pairs, percent: float, most_ms: float) -> Figure:
    at = [(frame.at(percent), bare.at(percent)) for frame, bare in pairs]
    reached = middle([frame for frame, _ in at])
    samples = sum(frame.count for frame, _ in pairs)
    return Figure(
        name,
        f"{reached:.2f} ms",
        f"{middle([bare for _, bare in at]):.2f} ms, bare publish → subscriber",
        f"{ratio(at):.1f}",
        f"< {most_ms:g} ms",
        reached < most_ms,
        f"{samples:,} one by one",
    )
