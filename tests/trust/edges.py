"""What is just small enough and just too large, on every surface, for each limit of docs/limits.md."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from crown.notification.v1.ingest_service_pb2 import (
    SendBulkNotificationsRequest,
    SendNotificationRequest,
    StreamNotificationsRequest,
)
from crown.notification.v1.realtime_service_pb2 import PublishRequest
from tests.e2e.answers import Reply
from tests.e2e.people import People, data
from tests.e2e.phoenix import Socket
from tests.e2e.remarks import details
from tests.e2e.rest import BULK, NOTIFICATIONS, Caller, Rest
from tests.sendgrid_signer import Signer
from tests.trust.poller import Poller

INGEST = "/crown.notification.v1.IngestService"
PUBLISH = "/crown.notification.v1.RealtimeService/Publish"
# So that nothing is sent while the tests run.
LATER = "send_at"
_LIMIT_S = 30.0
# A client may send 100 frames a second, and fragments are frames.
_FRAMES_A_TURN, _TURN_S = 80, 1.0
_HEARTBEAT = '[null,"1","phoenix","heartbeat",{}]'
Body = dict[str, Any]


@dataclass(frozen=True)
class Edges:
    """One who tries. Each method answers what refused `n` of what it is about, and nothing where it is taken."""

    rest: Rest
    feed: Caller
    people: People
    channel: grpc.aio.Channel
    later: str

    # -- by REST and gRPC

    async def posted(self, path: str, body: Any) -> str:
        """A POST by the service."""
        return told(await self.feed.post(path, body))

    async def called(self, path: str, body: bytes) -> str:
        """A unary call by the service."""
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
        try:
            await method(body, metadata=self.feed.metadata, timeout=_LIMIT_S)
        except grpc.aio.AioRpcError as error:
            return refusal(error)
        return ""

    async def streamed(self, body: bytes) -> str:
        """A stream of one message."""
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(
            f"{INGEST}/StreamNotifications"
        )
        call = method(iter([body]), metadata=self.feed.metadata, timeout=_LIMIT_S)
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError as error:
            return refusal(error)
        return ""

    def one(self, **given: Any) -> Body:
        """A notification for much later."""
        who = {} if given.keys() & {"user_ids", "group_ids"} else {"user_id": "heron"}
        return {"channels": ["IN_APP"], "data": data(), LATER: self.later, **who, **given}

    async def sent(self, body: Body) -> str:
        """It is sent, by REST and by gRPC."""
        message = json_format.ParseDict(body, SendNotificationRequest())
        return both(
            await self.posted(NOTIFICATIONS, body),
            await self.called(f"{INGEST}/SendNotification", message.SerializeToString()),
        )

    async def sent_together(self, bodies: list[Body]) -> str:
        """They are sent as a bulk, by REST and by gRPC."""
        body = {"notifications": bodies}
        message = json_format.ParseDict(body, SendBulkNotificationsRequest())
        return both(
            await self.posted(BULK, body),
            await self.called(f"{INGEST}/SendBulkNotifications", message.SerializeToString()),
        )

    async def saying(self, **given: Any) -> str:
        """A notification that says this is sent."""
        return await self.sent(self.one(data=data(**given)))

    async def data_of(self, size: int) -> str:
        """A notification whose data has so many bytes as a message of protobuf: 4 a character where it can."""
        given = {"title": "x", "message": "\U0001f986" * 4_000}
        given["action_url"] = "/" + "a" * (size - 3 - 16_003 - 4)
        return await self.sent(self.one(data=given))

    async def streamed_items(self, count: int) -> str:
        """A message of a stream with so many items."""
        item = {"notification": self.one()}
        message = json_format.ParseDict({"items": [item] * count}, StreamNotificationsRequest())
        return await self.streamed(message.SerializeToString())

    async def nested(self, levels: int) -> str:
        """Free-form parts within each other."""
        extra: Any = 1
        for _ in range(levels):
            extra = {"a": extra}
        return await self.saying(extra=extra)

    async def published(self, size: int) -> str:
        """An event whose payload has so many bytes of JSON, by REST and gRPC."""
        payload = {"a": "x" * (size - len(b'{"a":""}'))}
        body = {"event": "wave", "payload": payload}
        message = json_format.ParseDict({**body, "user_id": "heron"}, PublishRequest())
        return both(
            await self.posted("/api/v1/users/heron/events", body),
            await self.called(PUBLISH, message.SerializeToString()),
        )

    # -- sizes of requests

    async def message(self, path: str, message: Message, size: int) -> str:
        """A gRPC message of exactly `size` bytes."""
        return await self.called(path, enlarged(message, size))

    async def streamed_of(self, message: Message, size: int) -> str:
        """A stream of one message of exactly `size` bytes."""
        return await self.streamed(enlarged(message, size))

    async def json(self, path: str, body: Body, size: int) -> str:
        """A JSON body of exactly `size` bytes."""
        return await self.posted(path, spaced(json.dumps(body), size))

    async def event(self, size: int) -> str:
        """A callback of SendGrid, signed, of so many bytes."""
        signer = Signer(self.rest.stack.secrets.sendgrid_webhook_key().read_bytes())
        body = spaced("[]", size)
        headers = {"content-type": "application/json", **signer.headers(body)}
        reply = await self.rest.nobody.request("POST", "/webhooks/sendgrid", body, headers=headers)
        return told(reply)

    async def link(self, size: int) -> str:
        """A click on a link that is none, which is not about its size."""
        body = b"List-Unsubscribe=One-Click&x=".ljust(size, b"x")
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply = await self.rest.nobody.request("POST", "/unsubscribe/none", body, headers=headers)
        return "" if reply.status == 404 else told(reply)

    async def head(self, size: int) -> str:
        """A request whose line and headers have so many bytes."""
        start = b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-large: "
        return told(await self.rest.raw(start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"))

    async def headers(self, count: int) -> str:
        """A request with so many headers."""
        more = "".join(f"x-{number}: 1\r\n" for number in range(count - 1))
        return told(await self.rest.raw(f"GET /healthz HTTP/1.1\r\nhost: a\r\n{more}\r\n".encode()))

    # -- sockets

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[Socket]:
        """A socket of somebody new."""
        async with self.socket_of(self.people.stranger().caller.token or "") as found:
            yield found

    @asynccontextmanager
    async def socket_of(self, token: str) -> AsyncIterator[Socket]:
        """A socket of whoever has this token."""
        url = f"ws://{self.rest.address}/socket/websocket?vsn=2.0.0&token={token}"
        async with self.rest.http.ws_connect(url, max_msg_size=0) as stream:
            yield Socket(stream)

    async def heard(self, *frame: object) -> str:
        """Whether a frame is answered, or closes the socket."""
        async with self.socket() as socket:
            await socket.stream.send_str(json.dumps(frame))
            return await fate(socket.stream)

    async def whole(self, size: int) -> str:
        """A message in one frame, and the same in two."""
        text = _HEARTBEAT.ljust(size)
        async with self.socket() as socket:
            await socket.stream.send_str(text)
            one = await fate(socket.stream)
        return both(one, await self.pieces([text[: size // 2].encode(), text[size // 2 :].encode()]))

    async def fragments(self, count: int) -> str:
        """A message in so many frames, all but the first and the last of them empty."""
        return await self.pieces([_HEARTBEAT.encode(), *[b""] * (count - 2), b" "])

    async def pieces(self, parts: list[bytes]) -> str:
        """A message in these frames."""
        async with self.socket() as socket:
            connection = socket.stream._response.connection
            assert connection is not None
            assert connection.transport is not None
            last = len(parts) - 1
            frames = (
                masked((0x80 if at == last else 0) | (0 if at else 1), part) for at, part in enumerate(parts)
            )
            while part := b"".join(itertools.islice(frames, _FRAMES_A_TURN)):
                connection.transport.write(part)
                await asyncio.sleep(0 if len(parts) < _FRAMES_A_TURN else _TURN_S)
            return await fate(socket.stream)

    async def topics(self, count: int) -> str:
        """The last of so many topics that a socket is on."""
        person = self.people.stranger()
        groups = [f"{person.user_id}-{number}" for number in range(count)]
        await asyncio.gather(*(self._join_group(group, person.user_id) for group in groups))
        async with self.socket_of(person.caller.token or "") as socket:
            replies = [await socket.ask(f"group:{group}", "phx_join", {}) for group in groups]
        assert all(reply["status"] == "ok" for reply in replies[:-1]), replies
        return "" if replies[-1]["status"] == "ok" else str(replies[-1]["response"]["reason"])

    async def _join_group(self, group: str, user_id: str) -> None:
        assert (await self.feed.put(f"/api/v1/groups/{group}", {})).status == 200
        reply = await self.feed.post(f"/api/v1/groups/{group}/members", {"user_ids": [user_id]})
        assert reply.status == 200, reply

    async def connections(self, count: int) -> str:
        """The last of so many sockets of one person."""
        token = self.people.stranger().caller.token or ""
        async with AsyncExitStack() as opened:
            for _ in range(count):
                socket = await opened.enter_async_context(self.socket_of(token))
                await socket.stream.send_str(_HEARTBEAT)
                found = await fate(socket.stream)
            return found

    # -- long poll

    async def poll(self, path: str, body: bytes) -> str:
        """A POST of frames by a session of somebody new."""
        poller = Poller(self.rest)
        assert await poller.open(self.people.stranger().caller.token or "") == 410
        headers = {"content-type": "application/x-ndjson"}
        query = {"vsn": "2.0.0", "token": poller.session}
        async with self.rest.http.post(path, params=query, data=body, headers=headers) as answer:
            if answer.status != 200:
                return str(answer.status)
            found = (await answer.json())["status"]
        return "" if found == 200 else f"{found} in the body"

    async def poll_of(self, size: int) -> str:
        """A body of so many bytes through the gateway, in frames that are small enough."""
        return await self.poll(f"http://{self.rest.address}/socket/longpoll", lines(size, 10))

    async def poll_past_the_gateway(self, size: int) -> str:
        """The same to the process itself."""
        port = self.rest.stack.settings.ports.longpoll("realtime")
        return await self.poll(f"http://127.0.0.1:{port}/socket/longpoll", lines(size, 10))

    async def frames(self, count: int) -> str:
        """So many frames in one body."""
        body = b"\n".join([_HEARTBEAT.encode()] * count)
        return await self.poll(f"http://{self.rest.address}/socket/longpoll", body)


Try = Callable[[Edges, int], Awaitable[str]]


def told(reply: Reply) -> str:
    """What an HTTP answer refuses; nothing where it does not."""
    if reply.status < 300:
        return ""
    problem = reply.problem
    return " ".join([str(reply.status), problem.reason, *sorted(problem.violations)])


def refusal(error: grpc.aio.AioRpcError) -> str:
    """What a gRPC error refuses."""
    found: Mapping[Any, Any] = details(error)
    fields = sorted(one.field for one in found[BadRequest].field_violations) if BadRequest in found else []
    return " ".join([error.code().name, found[ErrorInfo].reason, *fields])


def both(first: str, second: str) -> str:
    """What two ways answer; nothing where both take it."""
    return f"{first}; {second}" if first or second else ""


def enlarged(message: Message, size: int) -> bytes:
    """`message` with a field that nobody knows, so that it has `size` bytes."""
    body = message.SerializeToString()
    room = size - len(body) - 6
    length = bytes([room & 0x7F | 0x80, room >> 7 & 0x7F | 0x80, room >> 14 & 0x7F | 0x80, room >> 21])
    return body + b"\xfa\x3f" + length + b"x" * room


def spaced(text: str, size: int) -> bytes:
    """JSON with so much room behind it that it has `size` bytes."""
    return text.encode().ljust(size)


def lines(size: int, count: int) -> bytes:
    """`count` heartbeats in `size` bytes."""
    each = size // count
    parts = [_HEARTBEAT.encode().ljust(each - 1) + b"\n" for _ in range(count - 1)]
    return b"".join(parts) + _HEARTBEAT.encode().ljust(size - (count - 1) * each)


def masked(first: int, payload: bytes) -> bytes:
    """A frame of a client that begins with the byte `first`."""
    mask = os.urandom(4)
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
    key = (mask * (size // 4 + 1))[:size]
    hidden = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return bytes([first]) + length + mask + hidden


async def fate(stream: aiohttp.ClientWebSocketResponse) -> str:
    """Nothing where the next word is an answer; the code where it is the end."""
    async with asyncio.timeout(_LIMIT_S):
        message = await stream.receive()
    return (
        "" if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY) else str(stream.close_code)
    )
