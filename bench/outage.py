"""A provider that hangs, or fails, beside the same load without: what the other channels feel of it, and how often
the provider is called for each text while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from bench.child import BenchError
from bench.latency import Latencies
from bench.people import metadata, person, register
from bench.site import Site
from bench.table import Figure
from crown.client.draft import ChannelName, draft
from crown.notification.v1 import ingest_service_pb2_grpc as ingest_grpc
from stack.secrets import read

PEOPLE = 100
# Of each channel in a second: less than half of what a machine of two cores can do.
PER_S = 40
CHANNELS: tuple[ChannelName, ...] = ("push", "email", "sms")
OTHERS = ("push", "email")
DRIFT_MOST = 1.2
CALLS_MOST = 1.5
_CALL_LIMIT_S = 10.0
_SETTLE_LIMIT_S = 180.0
_STEP_S = 0.2

_Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """What one stretch of load gave: by channel, how long deliveries took, in seconds; and what it began with."""

    taken: Mapping[str, Latencies]
    began: datetime


async def measure(site: Site) -> list[Figure]:
    """One stretch in peace, one with Twilio hanging, and one with it failing, until all has come to rest."""
    seconds = 10.0 if site.quick else 60.0
    async with _scene(site) as scene:
        await register(site, PEOPLE)
        await scene.run(3.0)
        calm = await scene.run(seconds)
        await scene.script({"hang": True})
        hanging = await scene.run(seconds)
        await scene.heal()
        await scene.script({"status": 503})
        failing = await scene.run(seconds, settle=False)
        await scene.heal()
        await scene.settled(failing.began, CHANNELS)
        calls = await scene.calls_per_text(failing.began)
    return [
        *(_drift(channel, calm.taken[channel], hanging.taken[channel], seconds) for channel in OTHERS),
        Figure(
            f"calls of a provider for each text, {seconds:.0f} s of 503",
            f"{calls:.2f}",
            "1, without an outage",
            f"{calls:.2f}",
            f"≤ {CALLS_MOST:g}",
            calls <= CALLS_MOST,
            f"{PER_S}/s; all texts were delivered in the end",
        ),
    ]


def _drift(channel: str, calm: Latencies, hanging: Latencies, seconds: float) -> Figure:
    found = hanging.at(99) / max(calm.at(99), 1e-9)
    return Figure(
        f"{channel} while Twilio hangs, accept → provider, p99",
        f"{hanging.at(99):.1f} ms",
        f"{calm.at(99):.1f} ms, before",
        f"{found:.2f}",
        f"≤ {DRIFT_MOST:g} of it",
        found <= DRIFT_MOST,
        f"{PER_S}/s on each channel for {seconds:.0f} s; p50 {calm.at(50):.1f} → {hanging.at(50):.1f} ms",
    )


@dataclass(frozen=True, slots=True)
class _Scene:
    db: AsyncDatabase[_Document]
    http: aiohttp.ClientSession
    ingest: ingest_grpc.IngestServiceAsyncStub
    bearer: tuple[tuple[str, str], ...]

    async def run(self, seconds: float, settle: bool = True) -> Run:
        """Sends on every channel for so long, one after the other in even steps."""
        began, loop = datetime.now(UTC), asyncio.get_running_loop()
        start, per_s = loop.time(), PER_S * len(CHANNELS)
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * per_s)):
                await asyncio.sleep(max(0.0, start + number / per_s - loop.time()))
                group.create_task(self._send(CHANNELS[number % len(CHANNELS)], number))
        if settle:
            await self.settled(began, OTHERS)
        return Run({channel: await self._taken(channel, began) for channel in OTHERS}, began)

    async def _send(self, channel: ChannelName, number: int) -> None:
        request = draft(
            type=channel, user_id=person(number % PEOPLE), title="News", message=f"Number {number}"
        )
        await self.ingest.SendNotification(request, metadata=self.bearer, timeout=_CALL_LIMIT_S)

    async def settled(self, began: datetime, channels: tuple[str, ...]) -> None:
        """Returns when all since `began` on these channels has ended. Raises BenchError."""
        where = {"create_time": {"$gte": began}, "open": {"$in": list(channels)}}
        limit = time.monotonic() + _SETTLE_LIMIT_S
        while left := await self.db.ledger.count_documents(where):
            if time.monotonic() > limit:
                raise BenchError(f"{left} have not ended")
            await asyncio.sleep(_STEP_S)

    async def _taken(self, channel: str, began: datetime) -> Latencies:
        at = f"deliveries.{channel}.update_time"
        where = {"create_time": {"$gte": began}, at: {"$exists": True}, "open": []}
        rows = self.db.ledger.find(where, {"create_time": 1, at: 1})
        return Latencies.of(
            [
                (row["deliveries"][channel]["update_time"] - row["create_time"]).total_seconds()
                async for row in rows
            ]
        )

    async def calls_per_text(self, began: datetime) -> float:
        """Claims for each delivery: a claim stands for a call."""
        rows = self.db.ledger.find(
            {"create_time": {"$gte": began}, "deliveries.sms": {"$exists": True}}, {"deliveries.sms": 1}
        )
        claims = [row["deliveries"]["sms"].get("claims", 0) async for row in rows]
        return float(sum(claims)) / len(claims)

    async def script(self, answer: Mapping[str, Any]) -> None:
        """From now on Twilio does this."""
        await self._post({"provider": "twilio", "answer": answer})

    async def heal(self) -> None:
        """From now on Twilio works."""
        await self._post({"provider": "twilio", "clear": True})

    async def _post(self, order: Mapping[str, Any]) -> None:
        async with self.http.post("/script", json=order) as answer:
            if answer.status != 200:
                raise BenchError(f"the sandbox says {await answer.text()}")


@asynccontextmanager
async def _scene(site: Site) -> AsyncIterator[_Scene]:
    stack = site.stack
    url = read(Path(stack.environment("operator")["DATABASE_URL_FILE"]))
    async with AsyncExitStack() as held:
        mongo: AsyncMongoClient[_Document] = AsyncMongoClient(url, tz_aware=True)
        held.push_async_callback(mongo.close)
        sandbox = f"http://127.0.0.1:{stack.settings.ports.sandbox}"
        http = await held.enter_async_context(aiohttp.ClientSession(sandbox))
        ingest = await held.enter_async_context(grpc.aio.insecure_channel(stack.address("ingest-api")))
        yield _Scene(
            mongo.get_default_database(),
            http,
            ingest_grpc.IngestServiceStub(ingest),
            metadata(site),
        )
