"""One person's app and one sending service, in a process of their own: how long from a POST at the gateway to the
frame on the person's socket, one at a time; and as its limit how long from a bare publish to a subscriber."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import aiohttp
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.child import Answer, BenchError, Cpu, serve
from bench.intake import connect
from bench.latency import Latencies

_SUBJECT = "bench.bare"
_LIMIT_S = 10.0
_BODY = {"title": "New Message", "message": "You have a new message from John", "action_url": "/messages/123"}


class Person:
    """Sends to themselves, so to speak, and waits for it."""

    def __init__(self, http: aiohttp.ClientSession, gateway: str, user_id: str, bearer: str) -> None:
        self._http = http
        self._url = f"http://{gateway}/api/v1/notifications"
        self._socket_url = f"ws://{gateway}/socket/websocket?vsn=2.0.0&token="
        self._user_id = user_id
        self._headers = {"Authorization": bearer, "Content-Type": "application/json"}
        self._body = json.dumps({"type": "real_time", "user_id": user_id, "data": _BODY}).encode()
        # Moments at which frames came, by notification: a frame may come before the answer to its POST.
        self._came: dict[str, float] = {}
        self._frame = asyncio.Event()

    async def join(self, token: str) -> asyncio.Task[None]:
        """Opens the socket and reads from it, until the task that this answers is cancelled."""
        socket = await self._http.ws_connect(self._socket_url + token)
        await socket.send_str(json.dumps(["1", "1", f"user:{self._user_id}", "phx_join", {}]))
        reply = (await socket.receive_json(timeout=_LIMIT_S))[4]
        if reply["status"] != "ok":
            raise BenchError(f"joining was refused: {reply}")
        return asyncio.create_task(self._read(socket))

    async def once(self) -> float:
        """Seconds from the POST to its frame."""
        began = time.perf_counter()
        async with self._http.post(self._url, data=self._body, headers=self._headers) as answer:
            found = await answer.json()
            if answer.status != 200:
                raise BenchError(f"the gateway answered {answer.status}: {found}")
        async with asyncio.timeout(_LIMIT_S):
            while found["notification_id"] not in self._came:
                self._frame.clear()
                await self._frame.wait()
        return self._came.pop(found["notification_id"]) - began

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            came = time.perf_counter()
            _, _, _, event, payload = json.loads(message.data)
            if event == "notification":
                self._came[payload["notification_id"]] = came
                self._frame.set()


class Bare:
    """A publisher and a subscriber with a connection each, and nothing between them but NATS."""

    def __init__(self, publisher: Client, subscriber: Client) -> None:
        self._publisher = publisher
        self._subscriber = subscriber
        self._heard: asyncio.Future[float] | None = None

    async def listen(self) -> None:
        """Subscribes."""
        await self._subscriber.subscribe(_SUBJECT, cb=self._hear)
        await self._subscriber.flush()

    async def once(self) -> float:
        """Seconds from the publish to the subscriber."""
        self._heard = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        await self._publisher.publish(_SUBJECT, json.dumps(_BODY).encode())
        async with asyncio.timeout(_LIMIT_S):
            return await self._heard - began

    async def _hear(self, _message: Msg) -> None:
        if self._heard is not None:
            self._heard.set_result(time.perf_counter())


class Watch:
    """The child."""

    def __init__(self) -> None:
        self._person: Person | None = None
        self._bare: Bare | None = None
        self._reading: asyncio.Task[None] | None = None

    async def handle(self, order: Answer) -> Answer:
        """`open` connects; `person` and `bare` take `count` samples with `gap_s` between them."""
        if "open" in order:
            await self._open(order["open"])
            return {}
        assert self._person is not None
        assert self._bare is not None
        once = self._person.once if order["who"] == "person" else self._bare.once
        return await _samples(once, order["count"], order["gap_s"])

    async def _open(self, order: Answer) -> None:
        http = aiohttp.ClientSession()
        self._person = Person(http, order["gateway"], order["user_id"], order["bearer"])
        self._reading = await self._person.join(order["user_token"])
        self._bare = Bare(await connect(order["nats"]), await connect(order["nats"]))
        await self._bare.listen()


async def _samples(once: Callable[[], Awaitable[float]], count: int, gap_s: float) -> Answer:
    cpu = Cpu()
    taken_s = []
    for _ in range(count):
        taken_s.append(await once())
        await asyncio.sleep(gap_s)
    return {"latencies": Latencies.of(taken_s).text(), "cpu": cpu.share()}


if __name__ == "__main__":
    serve(Watch().handle)
