"""One notification to a large group: how soon everybody has it, what it costs the dispatchers, whether their memory
stays flat, and what it does to login alerts meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import msgspec
import psutil
from nats.aio.client import Client as Nats

from bench import members, plot
from bench.child import BenchError, Child
from bench.intake import connect
from bench.latency import Latencies
from bench.site import Site
from bench.table import Figure
from crown import subjects
from crown.client.draft import draft
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub

PLOT = Path(tempfile.gettempdir()) / "crown-fanout-million.svg"
PER_CPU_LEAST = 20_000
SECONDS_MOST = 60.0
SLOWER_MOST = 2.0
# Of what it was after a tenth of the run.
GROWTH_MOST = 1.2
_DISPATCHERS = ("ingest-dispatch", "ingest-dispatch-2")
_STEP_S = 0.25
_LIMIT_S = 600.0


@dataclass(slots=True)
class Run:
    """What a campaign took."""

    people: int
    seconds: float = 0.0
    dispatch_cpu_s: float = 0.0
    server_cpu_s: dict[str, float] = field(default_factory=dict)
    # Seconds, and MiB of all dispatchers of the lane.
    memory: list[tuple[float, float]] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The most memory of the run, to the most of its first tenth."""
        start = self.memory[: max(1, len(self.memory) // 10)]
        return max(mib for _, mib in self.memory) / max(mib for _, mib in start)


async def measure(site: Site) -> list[Figure]:
    """Notifications of a CPU second of a dispatcher."""
    run = await _campaign(site, "dispatch", 20_000 if site.quick else 100_000)
    reached = run.people / run.dispatch_cpu_s
    return [
        Figure(
            f"dispatch to inbox and socket, a group of {run.people:,}",
            f"{reached:,.0f} per CPU second",
            reach=f"≥ {PER_CPU_LEAST:,}",
            reached=reached >= PER_CPU_LEAST,
            note=_servers(run),
        )
    ]


async def measure_million(site: Site) -> list[Figure]:
    """A campaign to a million people (to 100,000 where it has to be quick), and login alerts beside it."""
    count = 100_000 if site.quick else 1_000_000
    order = {
        "nats": site.nats(),
        "target": site.stack.address("ingest-api"),
        "metadata": [site.bearer()],
    }
    async with Child("bench.alarms") as alarms:
        await alarms.ask(60, seconds=1.0, **order)
        idle = Latencies.read((await alarms.ask(60, seconds=site.seconds * 2, **order))["latencies"])
        bare = await _campaign(site, "million", count)
        beside = 5.0 if site.quick else 20.0
        asked = asyncio.create_task(_later(alarms, seconds=beside, **order))
        await _campaign(site, "million", count, made=True)
        busy = Latencies.read((await asked)["latencies"])
    PLOT.write_text(
        plot.svg(
            f"Memory of the dispatchers during a campaign to {count:,} people", bare.memory, "seconds", "MiB"
        )
    )
    return _figures(bare, idle, busy, judged=not site.quick)


async def _later(alarms: Child, **order: object) -> dict[str, str]:
    # When the campaign is under way.
    await asyncio.sleep(1.0)
    return await alarms.ask(120, **order)


def _figures(run: Run, idle: Latencies, busy: Latencies, *, judged: bool) -> list[Figure]:
    slower = busy.at(99) / idle.at(99)
    return [
        Figure(
            f"a campaign to a group of {run.people:,}",
            f"{run.seconds:.1f} s",
            f"{run.people / run.seconds:,.0f} people/s",
            reach=f"≤ {SECONDS_MOST:.0f} s" if judged else "",
            reached=run.seconds <= SECONDS_MOST if judged else None,
            note=_servers(run),
        ),
        Figure(
            "  memory of the dispatchers, at its most",
            f"{max(mib for _, mib in run.memory):.0f} MiB",
            f"{run.memory[0][1]:.0f} MiB at the start",
            f"{run.growth:.2f}",
            f"≤ {GROWTH_MOST:g} of its first tenth",
            run.growth <= GROWTH_MOST,
            f"plotted in {PLOT}",
        ),
        Figure(
            "  a login alert meanwhile, until its frame: p99",
            f"{busy.at(99):.1f} ms",
            f"{idle.at(99):.1f} ms, idle",
            f"{slower:.2f}",
            f"≤ {SLOWER_MOST:g}",
            slower <= SLOWER_MOST,
            f"p50 {busy.at(50):.1f} ms, idle {idle.at(50):.1f}",
        ),
    ]


def _servers(run: Run) -> str:
    servers = ", ".join(f"{name} {cpu_s:.1f} s" for name, cpu_s in run.server_cpu_s.items())
    return f"CPU: dispatch {run.dispatch_cpu_s:.1f} s, {servers}"


async def _campaign(site: Site, group_id: str, count: int, *, made: bool = False) -> Run:
    """Sends to a group of `count`, and returns when everybody has a row."""
    stack = site.stack
    pids = [stack.pid(name) for name in _DISPATCHERS]
    servers = {name: stack.pid(name) for name in ("mongod", "nats")}
    run = Run(count)
    async with members.store(site) as db:
        if not made:
            await members.fill(site, db, group_id, count)
        nats = await connect(site.nats())
        before = {pid: site.cpu_s(pid) for pid in (*pids, *servers.values())}
        began = time.perf_counter()
        notification_id = await _send(site, group_id)
        while not await _is_listed(db, notification_id) or await _waiting(nats):
            taken = time.perf_counter() - began
            if taken > _LIMIT_S:
                raise BenchError(f"not everybody has it after {taken:.0f} s")
            run.memory.append((taken, sum(psutil.Process(pid).memory_info().rss for pid in pids) / 2**20))
            await asyncio.sleep(_STEP_S)
        run.seconds = time.perf_counter() - began
        run.dispatch_cpu_s = sum(site.cpu_s(pid) - before[pid] for pid in pids)
        run.server_cpu_s = {name: site.cpu_s(pid) - before[pid] for name, pid in servers.items()}
        await nats.close()
        if (found := await members.rows(db, notification_id)) != count:
            raise BenchError(f"{count} people are in the group and {found} have a row")
    return run


async def _send(site: Site, group_id: str) -> str:
    request = draft(type="real_time", user_id="nobody", title="Spring", message="It is here", kind="campaign")
    request.user_id = ""
    request.group_ids.append(group_id)
    async with grpc.aio.insecure_channel(site.stack.address("ingest-api")) as channel:
        answer = await IngestServiceStub(channel).SendNotification(
            request, metadata=(site.bearer(),), timeout=30
        )
    return answer.notification_id


async def _is_listed(db: members.Database, notification_id: str) -> bool:
    found = await db.notifications.find_one({"_id": notification_id}, {"listing": 1})
    return found is not None and "listing" not in found


async def _waiting(nats: Nats) -> int:
    consumer = subjects.dispatcher("bulk")
    call = f"$JS.API.CONSUMER.INFO.{consumer.stream}.{consumer.name}"
    info = msgspec.json.decode((await nats.request(call, b"", timeout=5)).data)
    return int(info["num_pending"] + info["num_ack_pending"])
