"""One connection to a feed: opens it, hears messages one by one, and notices when it is dead. It knows nothing of
what they say. What it has to tell of a failure is a word, never what the other side wrote."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType

from services.realtime.relay import headers
from services.realtime.relay.feed import Feed

MESSAGE_MOST_BYTES = 256 << 10
_GOODBYE_S = 2.0

Receive = Callable[[bytes], Awaitable[None]]


class Lost(Exception):
    """There is no connection, or no more; says why in a word or two."""


class TooBig(Lost):
    """The feed sent a message beyond the bound."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, in seconds."""

    connect_s: float = 10.0
    send_s: float = 10.0
    # Without a word from the feed we ask whether it is there, and give it this long to answer.
    ping_s: float = 20.0
    pong_s: float = 10.0
    # A connection that lived this long was a good one: after it, waiting begins anew.
    steady_s: float = 30.0


USUAL = Pace()


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """What connections are made with: verified TLS, no cookies, no detours."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        middlewares=(_straight,),
    ) as made:
        yield made


async def _straight(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Follows no redirection: it would take our headers to another host."""
    answer = await handler(request)
    if answer.status != 101:
        answer.close()
        raise Lost(f"status {answer.status}")
    return answer


@asynccontextmanager
async def connected(http: aiohttp.ClientSession, feed: Feed, pace: Pace = USUAL) -> AsyncIterator[Connection]:
    """A connection that has said what it was told to say. Raises Lost."""
    opened = Connection(await _opened(http, feed, pace), feed.idle_s, pace)
    try:
        for message in feed.send:
            await opened.send(message)
        yield opened
    finally:
        await opened.close()


async def _opened(http: aiohttp.ClientSession, feed: Feed, pace: Pace) -> ClientWebSocketResponse[Any]:
    try:
        async with asyncio.timeout(pace.connect_s):
            return await http.ws_connect(
                feed.url,
                headers=await _shown(feed),
                protocols=feed.subprotocols,
                autoping=False,
                max_msg_size=MESSAGE_MOST_BYTES,
                # What is not text is for the decoder to count, and not the end of the connection.
                decode_text=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=_GOODBYE_S),
            )
    except TimeoutError:
        raise Lost("no answer in time") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Lost(_word(error)) from None


async def _shown(feed: Feed) -> dict[str, str]:
    """The headers to show; read each time anew, since they may have been renewed. Raises Lost."""
    if feed.headers_file is None:
        return {}
    try:
        return await asyncio.to_thread(headers.read, feed.headers_file)
    except ValueError:
        raise Lost("headers_file unreadable") from None


def _word(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "TLS not verified"
    return type(error).__name__


class Connection:
    """An open connection."""

    def __init__(self, socket: ClientWebSocketResponse[Any], idle_s: float | None, pace: Pace) -> None:
        self._socket = socket
        self._silence_s = float("inf") if idle_s is None else idle_s
        self._pace = pace

    async def send(self, message: str) -> None:
        """Sends text. Raises Lost."""
        await self._write(self._socket.send_str(message))

    async def listen(self, receive: Receive) -> None:
        """Gives each message to `receive`, the next one when it has returned; ends by raising Lost. While
        `receive` takes its time nothing is read, so that the feed has to wait."""
        loop = asyncio.get_running_loop()
        silent_at = loop.time() + self._silence_s
        while True:
            frame = await self._next(silent_at)
            if frame.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                await receive(frame.data)
                # From now on: that we were busy is not its silence.
                silent_at = loop.time() + self._silence_s
            elif frame.type is WSMsgType.PING:
                await self._write(self._socket.pong(frame.data))
            elif frame.type is not WSMsgType.PONG:
                raise self._over(frame)

    async def close(self) -> None:
        """Says goodbye, and does not wait long for an answer."""
        await self._socket.close()

    async def _next(self, silent_at: float) -> aiohttp.WSMessage:
        """The next frame; asks on the way whether the feed is there. Raises Lost where it is not."""
        loop = asyncio.get_running_loop()
        ping_at, gone_at = loop.time() + self._pace.ping_s, float("inf")
        while True:
            until = min(silent_at, ping_at, gone_at)
            try:
                async with asyncio.timeout_at(until):
                    frame: aiohttp.WSMessage = await self._socket.receive()
                    return frame
            except TimeoutError:
                if until == silent_at:
                    raise Lost("silent") from None
                if until == gone_at:
                    raise Lost("no pong") from None
            await self._write(self._socket.ping())
            ping_at, gone_at = float("inf"), loop.time() + self._pace.pong_s

    async def _write(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._pace.send_s):
                await sending
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Lost(f"cannot send ({type(error).__name__})") from None

    def _over(self, frame: aiohttp.WSMessage) -> Lost:
        broken = frame.data
        if isinstance(broken, aiohttp.WebSocketError) and broken.code == WSCloseCode.MESSAGE_TOO_BIG:
            return TooBig("message too big")
        return Lost(f"closed ({self._socket.close_code})")
