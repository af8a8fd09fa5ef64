"""What a crash costs, by policy: a worker is killed again and again while it sends, and each message is counted where
it arrived. `python -m tests.fault.losses [--quick]` prints the table.

Between a provider's yes and our note of it, a crash leaves two choices: send again, and perhaps twice; or do not,
and perhaps never. Only a provider that can say what it took leaves none."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
from pymongo import AsyncMongoClient
from rich.console import Console
from rich.table import Table

from crown.client.draft import ChannelName, draft
from crown.notification.v1.ingest_service_pb2 import SendBulkNotificationsRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.types_pb2 import DeliveryState
from stack.control import Stack
from tests.fault import bus
from tests.fault.people import Person, crowd, register

PORT_BASE = 22_000
MESSAGES = 4_000
KILLS = 8
IN_FLIGHT = 32
# Each call of a provider takes so long, so that as many are under way as may be.
DELAY_S = 0.05
PEOPLE = 200
_LIMIT_S = 300.0
_STEP_S = 0.1


@dataclass(frozen=True, slots=True)
class Policy:
    """What the worker is told to do about outcomes that nobody knows."""

    name: str
    channel: ChannelName
    provider: str
    setting: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What was counted. `parked` deliveries ended as UNKNOWN, `sent` of them had arrived."""

    messages: int
    kills: int
    duplicates: int
    lost: int
    parked: int
    sent: int


POLICIES = (
    Policy("send again", "email", "sendgrid", "email.*=resend"),
    Policy("leave it, in the dead letters", "email", "sendgrid", "email.*=park"),
    Policy("ask the provider first", "sms", "twilio", ""),
)


async def measure(policy: Policy, messages: int, kills: int) -> Cost:
    """Sends, kills, waits, and counts."""
    with tempfile.TemporaryDirectory(prefix="crown-losses-") as home:
        stack = Stack(PORT_BASE, Path(home), _processes(policy), env=_environment(policy, messages))
        with stack:
            async with _scene(stack) as scene:
                return await scene.measure(policy, messages, kills)


def _processes(policy: Policy) -> tuple[str, ...]:
    return ("ingest-api", "ingest-dispatch", "ingest-record", "push", policy.channel)


def _environment(policy: Policy, messages: int) -> Mapping[str, str]:
    caps = ("DAY", "NUMBER_HOUR", "PREFIX_HOUR", "COUNTRY_HOUR")
    return {
        "CROWN_IN_FLIGHT": str(IN_FLIGHT),
        "CROWN_EMAIL_PROVIDERS": "sendgrid",
        "CROWN_SANDBOX_CALLBACKS": "off",
        "CROWN_SMS_PROVIDERS": "twilio",
        **({"CROWN_UNKNOWN_OUTCOMES": policy.setting} if policy.setting else {}),
        **{f"CROWN_SMS_{cap}_MOST": str(100 * messages) for cap in caps},
    }


class _Scene:
    def __init__(
        self,
        stack: Stack,
        streams: bus.Streams,
        db: Any,
        http: aiohttp.ClientSession,
        ingest: grpc.aio.Channel,
        people: list[Person],
    ) -> None:
        self._stack = stack
        self._streams = streams
        self._db = db
        self._http = http
        self._ingest = ingest
        self._people = people

    async def measure(self, policy: Policy, messages: int, kills: int) -> Cost:
        await self._script(policy)
        await self._send(policy, messages)
        for number in range(kills):
            await self._until_arrived(policy, messages * (number + 1) // (kills + 1))
            pid = self._stack.kill(policy.channel)
            await asyncio.to_thread(self._stack.wait_healthy, policy.channel, pid, 60)
        await self._until_ended(messages)
        return await self._count(policy, messages, kills)

    async def _script(self, policy: Policy) -> None:
        order = {"provider": policy.provider, "answer": {"delay_s": DELAY_S}}
        async with self._http.post("/script", json=order) as answer:
            assert answer.status == 200, await answer.text()

    async def _send(self, policy: Policy, messages: int) -> None:
        items = [
            draft(
                type=policy.channel,
                user_ids=[one.user for one in self._people],
                title="Number",
                message=f"{number}",
                priority="normal",
            )
            for number in range(messages // len(self._people))
        ]
        metadata = (("authorization", f"Bearer {self._stack.token(service='feed')}"),)
        request = SendBulkNotificationsRequest(notifications=items)
        answer = await IngestServiceStub(self._ingest).SendBulkNotifications(
            request, metadata=metadata, timeout=30
        )
        assert not any(result.HasField("error") for result in answer.results)

    async def _until_arrived(self, policy: Policy, least: int) -> None:
        limit = time.monotonic() + _LIMIT_S
        while (found := await self._total(policy)) < least:
            assert time.monotonic() < limit, f"{found} of {least} arrived"
            await asyncio.sleep(_STEP_S)

    async def _total(self, policy: Policy) -> int:
        async with self._http.get("/ledger", params={"provider": policy.provider, "limit": "1"}) as answer:
            return int((await answer.json())["total"])

    async def _until_ended(self, messages: int) -> None:
        limit = time.monotonic() + _LIMIT_S
        while (
            await self._db.ledger.count_documents({"open": []}) < messages or await self._streams.unsettled()
        ):
            assert time.monotonic() < limit, "some have not ended"
            await asyncio.sleep(_STEP_S)

    async def _count(self, policy: Policy, messages: int, kills: int) -> Cost:
        arrived: Counter[str] = Counter()
        params = {"provider": policy.provider, "limit": "100000"}
        async with self._http.get("/ledger", params=params) as answer:
            arrived.update(one["delivery_id"] for one in (await answer.json())["effects"])
        at = f"deliveries.{policy.channel}"
        lost = parked = sent = 0
        async for row in self._db.ledger.find({}, {at: 1}):
            delivery = row["deliveries"][policy.channel]
            if delivery["state"] == DeliveryState.UNKNOWN:
                parked += 1
                sent += delivery["id"] in arrived
            elif delivery["id"] not in arrived:
                lost += 1
        duplicates = sum(count - 1 for count in arrived.values())
        return Cost(messages, kills, duplicates, lost, parked, sent)


@asynccontextmanager
async def _scene(stack: Stack) -> AsyncIterator[_Scene]:
    environment = stack.environment("operator")
    async with AsyncExitStack() as held:
        streams = await held.enter_async_context(bus.streams(environment))
        mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(bus.secret(environment, "DATABASE_URL"))
        held.push_async_callback(mongo.close)
        sandbox = f"http://127.0.0.1:{stack.settings.ports.sandbox}"
        http = await held.enter_async_context(aiohttp.ClientSession(sandbox))
        ingest = await held.enter_async_context(grpc.aio.insecure_channel(stack.address("ingest-api")))
        push = await held.enter_async_context(grpc.aio.insecure_channel(stack.address("push")))
        people = crowd(PEOPLE)
        await register(ingest, push, stack.token(service="feed"), people)
        yield _Scene(stack, streams, mongo.get_default_database(), http, ingest, people)


def show(costs: Mapping[Policy, Cost], to: Console) -> None:
    """Prints the table."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for title in ("after a crash", "channel", "messages", "kill -9", "twice", "lost", "left as UNKNOWN"):
        table.add_column(title)
    for policy, cost in costs.items():
        left = f"{cost.parked}, of which {cost.sent} had arrived" if cost.parked else "0"
        table.add_row(
            policy.name,
            f"{policy.channel} by {policy.provider}",
            f"{cost.messages:,}",
            str(cost.kills),
            f"{cost.duplicates} ({cost.duplicates / cost.kills:.0f} a crash)" if cost.duplicates else "0",
            str(cost.lost),
            left,
        )
    to.print(table)
    to.print(f"[dim]{IN_FLIGHT} under way at once, each call takes {DELAY_S * 1e3:g} ms[/]")


def main() -> None:
    """Measures every policy."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.losses", description="What a crash costs.")
    parser.add_argument("--quick", action="store_true", help="a quarter of the messages, two kills")
    quick = parser.parse_args().quick
    messages, kills = (1_000, 2) if quick else (MESSAGES, KILLS)
    to = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    costs = {policy: asyncio.run(measure(policy, messages, kills)) for policy in POLICIES}
    show(costs, to)


if __name__ == "__main__":
    main()
