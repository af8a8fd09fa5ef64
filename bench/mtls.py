"""What TLS between the parts costs: of accepting, the CPU of the process for each call, in the clear and by TLS."""

from __future__ import annotations

from pathlib import Path

from bench.beside import Server, ingest, own
from bench.child import BenchError, Child
from bench.rounds import middle
from bench.site import Site
from bench.table import Figure
from bench.unary import METHOD, body

_IN_FLIGHT = 64


async def measure(site: Site) -> list[Figure]:
    """Both ways, round by round."""
    shown = site.stack.secrets.tls("gateway")
    folder = str(site.stack.secrets.tls("ingest-api"))
    async with Child("bench.calls") as load, ingest(site, shown, CROWN_TLS_FOLDER=folder) as secure:
        kinds: tuple[tuple[Server, Path | None], ...] = ((own(site), None), (secure, shown))
        found: tuple[list[float], list[float]] = ([], [])
        for number in range(site.rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                found[which].append(await _us(site, load, *kinds[which]))
    clear, by_tls = found
    more = middle([mine - other for mine, other in zip(by_tls, clear, strict=True)])
    return [
        Figure(
            "accept, by TLS with certificates of both sides",
            f"{middle(by_tls):.0f} µs CPU",
            f"{middle(clear):.0f} µs, in the clear",
            f"{middle(by_tls) / middle(clear):.2f}",
            note=f"{more:+.0f} µs, round by round",
        )
    ]


async def _us(site: Site, load: Child, server: Server, shown: Path | None) -> float:
    before = site.cpu_s(server.pid)
    answer = await load.ask(
        site.warm_s + site.seconds + 20,
        method=METHOD,
        body=body(),
        metadata=[site.bearer()],
        in_flight=_IN_FLIGHT,
        keyed=False,
        target=server.target,
        shown=str(shown or ""),
        warm_s=site.warm_s,
        seconds=site.seconds,
    )
    if answer["failed"] or not answer["made"]:
        raise BenchError(f"calls failed: {answer['failed']}")
    return (site.cpu_s(server.pid) - before) / float(answer["made"]) * 1e6
