"""Hostile input where an answer goes on: streams of gRPC, server-sent events, exports, long poll, and sockets that
have joined. Each is refused clearly, or begins; none hangs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote, urlencode

import aiohttp
import grpc
import pytest
from google.protobuf.message import DecodeError
from yarl import URL

from crown.notification.v1.realtime_service_pb2 import SubscribeRequest
from tests.e2e.answers import LEAK, Reply
from tests.e2e.contract import RPCS, Rpc
from tests.e2e.people import People, Person
from tests.e2e.rest import Rest
from tests.trust.counting import LIMIT_S, Count, each
from tests.trust.poller import Poller
from tests.trust.spoiling import Spoiler
from tests.trust.test_hostile import CLOSES, OURS, heard, judged, somebody, spoilt

pytestmark = pytest.mark.usefixtures("steady")
SEED = 20_261_141
STREAMS = [rpc for rpc in RPCS if rpc.method.server_streaming]
# What the body of an answer to a poll says.
POLLED = {200, 204, 403, 408, 410, 413}
# A stream of events that has begun may have nothing to say.
QUIET_S = 0.5
NDJSON = {"content-type": "application/x-ndjson"}


async def test_grpc_streams(
    rest: Rest, channel: grpc.aio.Channel, number: int, counted: Callable[[Count], None]
) -> None:
    spoiler, count = Spoiler(SEED), Count("gRPC streams")

    async def attempt(_: int) -> None:
        rpc = spoiler.chance.choice(STREAMS)
        path = f"/{rpc.method.containing_service.full_name}/{rpc.method.name}"
        raws = [spoilt(spoiler, rpc) for _ in range(spoiler.chance.randint(1, 3))]
        metadata = somebody(rest, spoiler).metadata
        count.tried += len(raws) if rpc.method.client_streaming else 1
        try:
            if rpc.method.client_streaming:
                await _tell(channel, path, raws, metadata)
            else:
                await _begin(channel, rpc, path, raws[0], metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                count.silent((path, raws))
            elif error.code() in OURS:
                count.fault((path, raws, error))
            elif LEAK.search(error.details() or ""):
                count.odd((path, raws, error))

    await each(number, attempt)
    counted(count)


async def _tell(
    channel: grpc.aio.Channel, path: str, raws: list[bytes], metadata: tuple[tuple[str, str], ...]
) -> None:
    """Sends these, each once the one before is answered, and reads the rest. Raises AioRpcError."""
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
    call = method(metadata=metadata, timeout=LIMIT_S)
    # Not all at once: the client tells a write to a stream that was refused meanwhile as an error of its own.
    for raw in raws:
        await call.write(raw)
        if await call.read() is grpc.aio.EOF:
            return
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:
        pass


async def _begin(
    channel: grpc.aio.Channel, rpc: Rpc, path: str, raw: bytes, metadata: tuple[tuple[str, str], ...]
) -> None:
    """Reads the first answer, and goes. Raises AioRpcError."""
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
    call = method(raw, metadata=metadata, timeout=LIMIT_S)
    quiet = rpc.method.name == "Subscribe" and _is_for_somebody(raw)
    try:
        async with asyncio.timeout(QUIET_S if quiet else None):
            await call.read()
    except TimeoutError:
        pass
    finally:
        call.cancel()


def _is_for_somebody(raw: bytes) -> bool:
    try:
        return bool(SubscribeRequest.FromString(raw).user_id)
    except DecodeError:
        return False


async def test_rest_streams(rest: Rest, number: int, counted: Callable[[Count], None]) -> None:
    """Events for an EventSource, and exports: refused as every call is, or begun at once."""
    spoiler, count = Spoiler(SEED + 1), Count("server-sent events and exports")
    known = [rpc for rpc in STREAMS if rpc.rest]

    async def attempt(_: int) -> None:
        rpc = spoiler.chance.choice(known)
        user = "heron" if spoiler.chance.random() < 0.7 else quote(_text(spoiler)[:100], safe="")
        method, path = spoiler.chance.choice(list(rpc.paths(user or "x")))
        names = [field.name for field in rpc.method.input_type.fields] or ["colour"]
        path += "?" + urlencode({name: _text(spoiler)[:200] for name in spoiler.chance.choices(names, k=2)})
        headers = dict(somebody(rest, spoiler).metadata)
        if spoiler.chance.random() < 0.5:
            headers["last-event-id"] = "".join(filter(str.isprintable, _text(spoiler)))[:300]
        reply = await _first(rest, count, method, path, headers)
        if reply is None:
            return
        if reply.status == 200:
            count.tried += 1
        else:
            judged(count, reply, (method, path, headers))

    await each(number, attempt)
    counted(count)


def _text(spoiler: Spoiler) -> str:
    """A word that can be written as UTF-8."""
    return spoiler.word().encode("utf-8", "replace").decode()


async def _first(rest: Rest, count: Count, method: str, path: str, headers: dict[str, str]) -> Reply | None:
    """The head of an answer and the first of its body; all of a refusal. None, and a hang, where there is nothing."""
    url = URL(f"http://{rest.address}{path}", encoded=True)
    try:
        async with asyncio.timeout(LIMIT_S), rest.http.request(method, url, headers=headers) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            body = await (answer.content.readany() if answer.status == 200 else answer.read())
            return Reply(answer.status, found, body)
    except (TimeoutError, aiohttp.ClientError) as error:
        count.tried += 1
        count.silent((method, path, headers, error))
        return None


async def test_longpoll(rest: Rest, people: People, number: int, counted: Callable[[Count], None]) -> None:
    """Bodies, tokens, methods and kinds of content; and after each, whoever polls is answered."""
    spoiler, count = Spoiler(SEED + 2), Count("long poll")
    pollers: dict[int, Poller] = {}

    async def ask(method: str, query: dict[str, str], body: bytes | None, headers: dict[str, str]) -> int:
        """The status in the body of an answer, or that of the answer; 0, and a hang, where there is none."""
        url = f"http://{rest.address}/socket/longpoll"
        count.tried += 1
        try:
            async with asyncio.timeout(LIMIT_S):
                async with rest.http.request(
                    method, url, params={"vsn": "2.0.0", **query}, data=body, headers=headers
                ) as answer:
                    text = await answer.text()
        except (TimeoutError, aiohttp.ClientError) as error:
            count.silent((method, query, body, error))
            return 0
        if answer.status >= 500:
            count.fault((method, query, body, answer.status))
        elif LEAK.search(text):
            count.odd((method, query, body, text))
        elif answer.status != 200 or method == "OPTIONS":
            return answer.status
        elif (found := json.loads(text)["status"]) in POLLED:
            return int(found)
        else:
            count.odd((method, query, body, text))
        return 0

    async def attempt(index: int) -> None:
        poller = pollers.pop(index % 8, None)
        if poller is None:
            poller = Poller(rest)
            assert await poller.open(people.stranger().caller.token or "") == 410
        match spoiler.chance.randrange(4):
            case 0:
                token = spoiler.altered(poller.session.encode()).decode(errors="replace")
                await ask(spoiler.chance.choice(["GET", "POST"]), {"token": token}, None, NDJSON)
            case 1:
                method = spoiler.chance.choice(["PUT", "DELETE", "PATCH", "OPTIONS"])
                await ask(method, {"token": poller.session}, spoiler.raw(), {})
            case 2:
                given = {_text(spoiler)[:50] or "x": _text(spoiler)[:500], "vsn": _text(spoiler)[:20]}
                await ask("POST", {"token": poller.session, **given}, _frame(spoiler, "heron"), NDJSON)
            case _:
                kind = spoiler.chance.choice(["application/x-ndjson", "application/json", "text/plain", "x"])
                body = b"\n".join(_frame(spoiler, "heron") for _ in range(spoiler.chance.randint(1, 5)))
                await ask("POST", {"token": poller.session}, body, {"content-type": kind})
        heartbeat = b'[null,"h","phoenix","heartbeat",{}]'
        await ask("POST", {"token": poller.session}, heartbeat, NDJSON)
        # What is left of a socket that was closed is that there is none.
        if await ask("GET", {"token": poller.session}, None, {}) == 200:
            pollers[index % 8] = poller

    await each(number, attempt)
    counted(count)


async def test_sockets_that_have_joined(
    rest: Rest, people: People, number: int, counted: Callable[[Count], None]
) -> None:
    spoiler, count = Spoiler(SEED + 3), Count("WebSocket frames after a join")
    socket: aiohttp.ClientWebSocketResponse | None = None
    person = people.stranger()
    for index in range(number):
        if socket is None or socket.closed:
            person = people.stranger()
            socket = await _joined(rest, person)
        count.tried += 1
        with suppress(ConnectionError, aiohttp.ClientError):
            frame = _frame(spoiler, person.user_id)
            if spoiler.chance.random() < 0.8:
                await socket.send_str(frame.decode(errors="replace"))
            else:
                await socket.send_bytes(frame)
            await socket.send_str(json.dumps([None, f"h{index}", "phoenix", "heartbeat", {}]))
        try:
            code = await heard(socket, f"h{index}")
        except TimeoutError:
            count.silent(index)
            await socket.close()
            continue
        if code is not None and code not in CLOSES:
            count.odd((index, code))
    if socket is not None:
        await socket.close()
    counted(count)


async def _joined(rest: Rest, person: Person) -> aiohttp.ClientWebSocketResponse:
    """A socket that is on the topic of the person."""
    url = f"http://{rest.address}/socket/websocket?vsn=2.0.0&token={person.caller.token}"
    socket = await rest.http.ws_connect(url)
    await socket.send_str(json.dumps(["1", "1", f"user:{person.user_id}", "phx_join", {}]))
    async with asyncio.timeout(LIMIT_S):
        assert (await socket.receive_json())[4]["status"] == "ok"
    return socket


EVENTS = ("seen", "read", "typing", "phx_leave", "phx_join", "access_token", "heartbeat", "notification", "x")


def _frame(spoiler: Spoiler, user_id: str) -> bytes:
    """A frame for a topic that may be joined, which says something that is wrong, or is hardly one."""
    topic = spoiler.chance.choice(
        [f"user:{user_id}", "user:victim", "group:x", "chat:x", "ops:metrics", "phoenix"]
    )
    event = spoiler.chance.choice([*EVENTS, _text(spoiler)[:100]])
    whole = json.dumps(
        ["1", spoiler.chance.choice(["2", None, 7, {}]), topic, event, spoiler.value()]
    ).encode()
    return spoiler.altered(whole) if spoiler.chance.random() < 0.3 else whole
