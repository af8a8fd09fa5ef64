"""What a channel's worker delivers of a backlog, in a second of its own CPU, beside a bare loop that makes the same
calls to the same sandbox and keeps no books."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import msgspec
from nats.aio.client import Client as Nats

from bench.child import BenchError, Child
from bench.people import metadata, person, register
from bench.rounds import in_turn, middle, ratio
from bench.site import Site
from bench.table import Figure
from crown import subjects
from crown.client.draft import ChannelName, draft
from crown.notification.v1 import ingest_service_pb2_grpc as ingest_grpc
from crown.notification.v1.ingest_service_pb2 import SendBulkNotificationsRequest

PEOPLE = 500
_ABREAST = 128
_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Channel:
    """What is measured: the service, who it calls, and what it has to reach in a CPU second; 0: nothing."""

    name: ChannelName
    provider: str
    least: int


@dataclass(frozen=True, slots=True)
class Run:
    """What one side of a round gave. Of the worker, `per_cpu_s` is of its process; of the loop, of its own."""

    per_cpu_s: float
    per_s: float


PUSH = Channel("push", "fcm", 3_000)
SENDGRID = Channel("email", "sendgrid", 1_000)
SMTP = Channel("email", "smtp", 0)
SMS = Channel("sms", "twilio", 1_000)


async def measure(site: Site) -> list[Figure]:
    """Push, e-mail by SendGrid, and text messages."""
    return [await _measure(site, channel) for channel in (PUSH, SENDGRID, SMS)]


async def measure_smtp(site: Site) -> list[Figure]:
    """E-mail by SMTP, beside a bare loop of aiosmtplib."""
    return [await _measure(site, SMTP)]


async def _measure(site: Site, channel: Channel) -> Figure:
    count = 2_000 if site.quick else 8_000
    async with _load(site) as load, Child("bench.caller") as caller:
        await register(site, PEOPLE)
        await caller.ask(20, open=_bare(site, channel))
        await load.drain(channel, 500)
        await caller.ask(60, count=200, abreast=_ABREAST)

        async def bare() -> Run:
            answer = await caller.ask(120, count=count, abreast=_ABREAST)
            return Run(count / answer["cpu_s"], count / answer["seconds"])

        pairs = await in_turn(lambda: load.drain(channel, count), bare, site.few)
    return _figure(channel, count, pairs)


def _figure(channel: Channel, count: int, pairs: Sequence[tuple[Run, Run]]) -> Figure:
    reached = middle([ours.per_cpu_s for ours, _ in pairs])
    bare = middle([peer.per_cpu_s for _, peer in pairs])
    wall, bare_wall = (middle([run.per_s for run in side]) for side in zip(*pairs, strict=True))
    return Figure(
        f"{channel.name} by {channel.provider}, a backlog of {count:,}",
        f"{reached:,.0f} per CPU second",
        f"{bare:,.0f}, a bare loop of calls",
        f"{ratio([(ours.per_cpu_s, peer.per_cpu_s) for ours, peer in pairs]):.0%}",
        f"≥ {channel.least:,}" if channel.least else "",
        reached >= channel.least if channel.least else None,
        f"{wall:,.0f}/s on the clock with servers and sandbox on the same cores; bare {bare_wall:,.0f}/s",
    )


@dataclass(frozen=True, slots=True)
class _Load:
    site: Site
    nats: Nats
    ingest: ingest_grpc.IngestServiceAsyncStub
    bearer: tuple[tuple[str, str], ...]

    async def drain(self, channel: Channel, count: int) -> Run:
        """Lets a backlog of `count` grow while the worker stands still, then lets it go."""
        stack = self.site.stack
        pid = stack.kill(channel.name, signal.SIGSTOP)
        try:
            await self._send(channel, count)
            await self._until(channel, lambda waiting: waiting >= count)
        finally:
            stack.kill(channel.name, signal.SIGCONT)
        began, before = time.perf_counter(), self.site.cpu_s(pid)
        await self._until(channel, lambda waiting: waiting == 0)
        seconds, cpu_s = time.perf_counter() - began, self.site.cpu_s(pid) - before
        return Run(count / max(cpu_s, 1e-9), count / seconds)

    async def _send(self, channel: Channel, count: int) -> None:
        people = [person(number) for number in range(PEOPLE)]
        items = [
            draft(
                type=channel.name,
                user_ids=people,
                title="New Message",
                message="You have a new message from John",
                action_url="/messages/123",
                priority="normal",
            )
            for _ in range(count // PEOPLE)
        ]
        request = SendBulkNotificationsRequest(notifications=items)
        answer = await self.ingest.SendBulkNotifications(request, metadata=self.bearer, timeout=30)
        if any(result.HasField("error") for result in answer.results):
            raise BenchError(f"not accepted: {answer.results[0]}")

    async def _until(self, channel: Channel, done: Any) -> None:
        limit = time.monotonic() + 120
        while not done(waiting := await self._waiting(channel)):
            if time.monotonic() > limit:
                raise BenchError(f"{channel.name}: still {waiting} after two minutes")
            await asyncio.sleep(_STEP_S)

    async def _waiting(self, channel: Channel) -> int:
        found = 0
        for consumer in (
            subjects.worker(channel.name, "normal"),
            subjects.retrier(channel.name, "normal"),
        ):
            call = f"$JS.API.CONSUMER.INFO.{consumer.stream}.{consumer.name}"
            info = msgspec.json.decode((await self.nats.request(call, b"", timeout=5)).data)
            found += info["num_pending"] + info["num_ack_pending"]
        return found


@asynccontextmanager
async def _load(site: Site) -> AsyncIterator[_Load]:
    given = site.nats()
    nats = Nats()
    await nats.connect(given["url"], user=given["user"], password=given["password"])
    async with grpc.aio.insecure_channel(site.stack.address("ingest-api")) as ingest:
        yield _Load(site, nats, ingest_grpc.IngestServiceStub(ingest), metadata(site))
    await nats.close()


def _bare(site: Site, channel: Channel) -> Mapping[str, Any]:
    """What the bare loop calls: the same as the worker, once more and once more."""
    ports = site.stack.settings.ports
    sandbox = f"http://127.0.0.1:{ports.sandbox}"
    text = "New Message\nYou have a new message from John\nhttps://crown.example/messages/123"
    match channel.provider:
        case "fcm":
            account = site.stack.environment("push")["PUSH_SERVICE_KEY_FILE"]
            message = {
                "token": "device-of-bench",
                "notification": {"title": "New Message", "body": "You have a new message from John"},
            }
            return {"url": sandbox, "account": account, "body": json.dumps({"message": message})}
        case "sendgrid":
            mail = {
                "personalizations": [{"to": [{"email": "bench@crowd.example"}]}],
                "from": {"email": "notifications@crown.example"},
                "subject": "New Message",
                "content": [{"type": "text/plain", "value": text}],
            }
            key = site.stack.environment("email")["CROWN_SENDGRID_API_KEY_FILE"]
            return {"url": f"{sandbox}/v3/mail/send", "bearer_file": key, "body": json.dumps(mail)}
        case "twilio":
            key = site.stack.environment("sms")["SMS_API_KEY_FILE"]
            form = {"To": "+14155550123", "From": "+15005550006", "Body": text}
            return {"url": f"{sandbox}/2010-04-01/Accounts", "basic_file": key, "form": form}
        case _:
            return {"smtp": f"127.0.0.1:{ports.mailbox_smtp}", "text": text}
