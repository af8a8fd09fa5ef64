"""A running suite with everything that a fault run needs around it: clients, sockets, and an operator's view of
stores, streams, sandbox and mailbox."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import grpc.aio
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from crown.ledger import row_id
from crown.notification.v1.events_pb2 import DeadLetter, LiveEvent
from crown.notification.v1.types_pb2 import DeliveryState
from stack.control import Stack
from stack.stamps import moment
from tests.fault import bus
from tests.fault.evidence import Calls, Effect, Evidence, Letter, Most, Published, Row, Turn
from tests.fault.history import Answer, Book, Sent
from tests.fault.load import Load
from tests.fault.people import HERMIT, Person, crowd, register, with_browser
from tests.fault.sockets import Listener
from tests.fault.watch import Watch

_POLL_S = 0.5
_ROWS_A_QUERY = 5_000
_JOIN_LIMIT_S = 30.0
_READY_LIMIT_S = 60.0
# For frames that are under way when the rest is done.
_LAST_FRAMES_S = 0.5

_Document = dict[str, Any]


class Site:
    """Use `site` to make one. `begin` starts a record, `quiet` waits, `evidence` says what was found since."""

    def __init__(
        self,
        stack: Stack,
        streams: bus.Streams,
        db: AsyncDatabase[_Document],
        http: aiohttp.ClientSession,
        gateway: grpc.aio.Channel,
        listeners: Sequence[Listener],
        people: Sequence[Person],
    ) -> None:
        self.stack = stack
        self.people = people
        self.listeners = listeners
        self._streams = streams
        self._db = db
        self._http = http
        self.gateway = gateway
        self._watch = Watch(stack, http)
        # Whether a record is being made: from `begin` until `evidence`.
        self.begun = False
        self._began = 0.0
        self._marks: dict[str, int] = {}

    def load(self, book: Book, chance: random.Random) -> Load:
        """Clients of the gateway that keep their ledger in `book`."""
        return Load(self.gateway, self.stack.token(service="feed"), book, chance)

    async def begin(self, *, empty: bool = False) -> None:
        """From here on counts what is found. With `empty` the store forgets what became of earlier notifications, and
        all that is found counts, whatever time it bears."""
        await asyncio.gather(*(listener.joined.wait() for listener in self.listeners))
        self._marks = {stream: await self._streams.last(stream) for stream in ("DEAD", "REALTIME")}
        ports = self.stack.settings.ports
        for port in (ports.sandbox, ports.mailbox_http):
            await self._post(port, "/reset")
        for listener in self.listeners:
            listener.forget()
        # What was before has been got over.
        await self._watch.ready(_READY_LIMIT_S)
        await self._watch.begin()
        self._began = time.time()
        if empty:
            for collection in (self._db.ledger, self._db.timeline, self._db.dead_letters):
                await collection.delete_many({})
            self._began = 0.0
        self.begun = True

    async def slow_providers(self, delay_s: float) -> None:
        """From now on each answers this late, having done what it was asked at once; until the next `begin`."""
        ports = self.stack.settings.ports
        for provider in ("sendgrid", "twilio", "fcm"):
            await self._post(ports.sandbox, "/script", {"provider": provider, "answer": {"delay_s": delay_s}})
        await self._post(ports.mailbox_http, "/script", {"command": "DATA", "delay_s": delay_s})

    async def script(self, provider: str, answer: Mapping[str, Any]) -> None:
        """From now on this provider does so; until `heal`."""
        order = {"provider": provider, "answer": answer}
        await self._post(self.stack.settings.ports.sandbox, "/script", order)

    async def script_mailbox(self, **order: Any) -> None:
        """From now on the mailbox does so; `clear=True`: it works."""
        await self._post(self.stack.settings.ports.mailbox_http, "/script", order)

    async def heal(self, provider: str) -> None:
        """From now on this provider works."""
        await self._post(self.stack.settings.ports.sandbox, "/script", {"provider": provider, "clear": True})

    async def times(self) -> tuple[float, float]:
        """The first and the last time that the timeline bears, in seconds since 1970."""
        ends = [
            one["time"].timestamp()
            for order in (1, -1)
            async for one in self._db.timeline.find().sort("time", order).limit(1)
        ]
        return ends[0], ends[-1]

    async def refusals(self, provider: str) -> list[float]:
        """When calls of the provider reached nobody, in seconds since 1970."""
        port = self.stack.settings.ports.sandbox
        found = await self._all(port, "/ledger", "refusals", provider=provider, kind="refusal")
        return [moment(one["time"]).timestamp() for one in found]

    async def calls(self) -> dict[str, Calls]:
        """By channel, how often a provider was called for each delivery since `begin`: a claim stands for a call."""
        found: dict[str, list[int]] = {}
        async for row in self._db.ledger.find({"create_time": {"$gte": _date(self._began)}}):
            for channel, one in row["deliveries"].items():
                if claims := one.get("claims"):
                    found.setdefault(channel, []).append(claims)
        return {channel: Calls(sum(each) / len(each), max(each)) for channel, each in found.items()}

    async def _post(self, port: int, path: str, body: Mapping[str, Any] | None = None) -> None:
        async with self._http.post(f"http://127.0.0.1:{port}{path}", json=body or {}) as answer:
            assert answer.status == 200, await answer.text()

    async def quiet(self, history: Sequence[Sent], limit_s: float) -> str:
        """Waits until every accepted delivery has ended and nothing is under way. Answers what was left when
        `limit_s` had passed; empty: nothing."""
        ids = [
            row_id(sent.request.notification_id, user)
            for sent in history
            if sent.answer is Answer.ACCEPTED
            for user in sent.request.users
        ]
        limit = time.monotonic() + limit_s
        while True:
            try:
                ended, unsettled = await self._ended(ids), await self._streams.unsettled()
            except (PyMongoError, *bus.AWAY) as error:
                ended, unsettled = -1, -1
                told = type(error).__name__
            else:
                told = f"{len(ids) - ended} of {len(ids)} have not ended, {unsettled} messages wait"
            if ended == len(ids) and unsettled == 0:
                await asyncio.sleep(_LAST_FRAMES_S)
                return ""
            if time.monotonic() > limit:
                return f"after {limit_s:g} s: {told}"
            await asyncio.sleep(_POLL_S)

    async def _ended(self, ids: list[str]) -> int:
        return sum(
            [
                await self._db.ledger.count_documents(
                    {"_id": {"$in": ids[at : at + _ROWS_A_QUERY]}, "open": []}
                )
                for at in range(0, len(ids), _ROWS_A_QUERY)
            ]
        )

    async def evidence(self) -> Evidence:
        """All that was found since `begin`; nobody watches any more."""
        await self._watch.end()
        self.begun = False
        rows, turns = await self._rows(), await self._turns()
        live = [
            (LiveEvent.FromString(message.data), message.time)
            for message in await self._streams.stored("REALTIME", self._marks["REALTIME"])
        ]
        dead = await self._letters()
        return Evidence(
            rows=rows,
            effects=[*await self._sandbox(), *await self._mailbox()],
            frames=[frame for listener in self.listeners for frame in listener.frames],
            published=[Published(event.user_id, event.notification_id, at) for event, at in live],
            letters=dead,
            turns=turns,
            addresses=_addresses(self.people),
            listening={listener.user: listener.spans for listener in self.listeners},
            looks=self._watch.looks,
            counted=await self._watch.counted(),
            most=self._watch.most,
            restarts=self._watch.restarts(),
            log_bytes=self._watch.log_bytes(),
            calls=await self.calls(),
        )

    @property
    def series(self) -> Mapping[str, Sequence[Most]]:
        """What each process took, look by look since `begin`."""
        return self._watch.series

    async def leave(self) -> None:
        """Ends what runs in the background."""
        await self._watch.end()

    async def _letters(self) -> list[Letter]:
        """Those that wait for the store, and then those that it has: one on its way is in either."""
        waiting = [
            DeadLetter.FromString(message.data)
            for message in await self._streams.stored("DEAD", self._marks["DEAD"])
        ]
        stored = self._db.dead_letters.find({"create_time": {"$gte": _date(self._began)}}, {"body": 0})
        return [
            *(Letter(one.delivery.delivery_id, one.reason, one.error) for one in waiting),
            *[Letter(row["delivery_id"], row["reason"], row["error"]) async for row in stored],
        ]

    async def _rows(self) -> list[Row]:
        return [
            Row(row["notification_id"], row["user_id"], channel, _state(one["state"]), one["reason"] or "")
            async for row in self._db.ledger.find({"create_time": {"$gte": _date(self._began)}})
            for channel, one in row["deliveries"].items()
        ]

    async def _turns(self) -> list[Turn]:
        since = {"time": {"$gte": _date(self._began)}, "delivery_id": {"$exists": True}}
        return [Turn(one["delivery_id"], _state(one["state"])) async for one in self._db.timeline.find(since)]

    async def _sandbox(self) -> list[Effect]:
        return [
            Effect(
                one["provider"],
                one["notification_id"],
                one["delivery_id"],
                one["recipient"],
                moment(one["time"]).timestamp(),
            )
            for one in await self._all(self.stack.settings.ports.sandbox, "/ledger", "effects")
        ]

    async def _mailbox(self) -> list[Effect]:
        return [
            Effect(
                "mailbox",
                one["notification_id"],
                one["delivery_id"],
                recipient,
                moment(one["time"]).timestamp(),
            )
            for one in await self._all(self.stack.settings.ports.mailbox_http, "/messages", "messages")
            for recipient in one["to"]
        ]

    async def _all(self, port: int, path: str, field: str, **wanted: str) -> list[Mapping[str, Any]]:
        """What the pages have under `field`, one page after the other."""
        found: list[Mapping[str, Any]] = []
        while True:
            params = {"limit": "10000", "offset": f"{len(found)}", **wanted}
            async with self._http.get(f"http://127.0.0.1:{port}{path}", params=params) as answer:
                page = await answer.json()
                assert answer.status == 200, page
            found += page[field]
            if len(found) >= page["total"]:
                return found


@asynccontextmanager
async def site(stack: Stack, people_count: int, browsers: bool = False) -> AsyncIterator[Site]:
    """A site in a stack that is up: people registered, with an app or a browser, and each of them on their socket."""
    environment = stack.environment("operator")
    people = crowd(people_count)
    async with AsyncExitStack() as held:
        streams = await held.enter_async_context(bus.streams(environment))
        mongo: AsyncMongoClient[_Document] = AsyncMongoClient(
            bus.secret(environment, "DATABASE_URL"), tz_aware=True, serverSelectionTimeoutMS=2_000
        )
        held.push_async_callback(mongo.close)
        http = await held.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0)
            )
        )
        gateway = f"127.0.0.1:{stack.settings.ports.gateway}"
        channel = await held.enter_async_context(grpc.aio.insecure_channel(gateway))
        if browsers:
            sandbox = f"http://127.0.0.1:{stack.settings.ports.sandbox}"
            people = [await with_browser(one, http, sandbox) for one in people]
        await register(channel, channel, stack.token(service="feed"), people)
        listeners = [
            Listener(one.user, f"http://{gateway}/socket/websocket", stack.token(user=one.user))
            for one in people
        ]
        runs = [asyncio.create_task(listener.run(http)) for listener in listeners]
        held.push_async_callback(_end, runs)
        async with asyncio.timeout(_JOIN_LIMIT_S):
            await asyncio.gather(*(listener.joined.wait() for listener in listeners))
        made = Site(stack, streams, mongo.get_default_database(), http, channel, listeners, people)
        held.push_async_callback(made.leave)
        yield made


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(list(tasks))


def _addresses(people: Iterable[Person]) -> dict[tuple[str, str], frozenset[str]]:
    return {at: found for one in (*people, HERMIT) for at, found in one.addresses().items()}


def _state(number: int) -> str:
    return DeliveryState.Type.Name(DeliveryState.Type.ValueType(number))


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
