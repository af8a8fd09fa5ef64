"""Pulling from JetStream: a durable consumer whose messages arrive by callback on one inbox, requested ahead
as far as there is room. Faster than fetches, and a request that gets lost is noticed and made again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from crown import logs, tracing
from crown.bus import Bus
from crown.stopping import wake_when
from crown.subjects import Consumer

log = logs.get(__name__)

# Seconds that a request for messages stays open at the server.
_EXPIRES_S = 30
_HEARTBEAT_S = 5
# A request without message or heartbeat for this long is taken for lost.
_SILENCE_S = 3 * _HEARTBEAT_S
# Where the word about a message goes.
_ACK = "$JS.ACK."


class Message:
    """One message of a stream, to be settled by exactly one of `ack`, `nak` and `term`."""

    __slots__ = ("_bus", "_raw", "data", "deliveries", "sequence", "stream", "time_ns")

    def __init__(self, bus: Bus, raw: Msg) -> None:
        self._bus = bus
        self._raw = raw
        self.data = raw.data
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>
        # and with two tokens more after ACK on servers that have domains.
        tokens = raw.reply.split(".")
        at = 2 if len(tokens) == 9 else 4
        self.stream = tokens[at]
        self.deliveries = int(tokens[at + 2])
        self.sequence = int(tokens[at + 3])
        self.time_ns = int(tokens[at + 5])

    @property
    def subject(self) -> str:
        """The subject it was published on."""
        return str(self._raw.subject)

    @property
    def time(self) -> datetime:
        """When it was stored."""
        return datetime.fromtimestamp(self.time_ns / 1e9, UTC)

    @property
    def trace(self) -> str:
        """The context that it came with; empty where it came with none."""
        return (self._raw.headers or {}).get(tracing.HEADER, "")

    def adopt_trace(self) -> None:
        """Goes on with the trace that the message came with."""
        tracing.adopt(self.trace)

    async def ack(self) -> None:
        """Done. A lost ack means a redelivery, which finds the work done."""
        await self._settle(b"+ACK")

    async def nak(self, delay_s: float) -> None:
        """Not now; comes again after `delay_s`. Only where nothing was attempted."""
        await self._settle(b"-NAK " + msgspec.json.encode({"delay": int(delay_s * 1e9)}))

    async def term(self, reason: str) -> None:
        """Never again. The dead letter must be written first."""
        await self._settle(b"+TERM " + reason.encode())

    async def in_progress(self) -> None:
        """Still at it: the wait for an ack begins anew."""
        await self._settle(b"+WPI")

    async def _settle(self, word: bytes) -> None:
        try:
            await self._bus.client.publish(self._raw.reply, word)
        except nats.errors.Error as error:
            # It comes again, to us or to another.
            log.warning("settle_failed", stream=self.stream, error=type(error).__name__)


class Pull:
    """Messages of one consumer. `wake` is set when there are some; several pulls may share it."""

    def __init__(self, bus: Bus, consumer: Consumer, wake: asyncio.Event, window: int = 512) -> None:
        self.consumer = consumer
        self._bus = bus
        self._wake = wake
        self._window = window
        self._waiting: deque[Message] = deque()
        self._requested = 0
        self._heard = 0.0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._watch: asyncio.Task[None] | None = None
        self._pausing = False

    async def start(self) -> None:
        """Makes the consumer what it has to be and asks for the first messages."""
        await self._bus.ensure_consumer(self.consumer)
        self._inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(self._inbox, cb=self._on_message)
        self._bus.on_reconnect(self._again)
        await self._request()
        self._watch = asyncio.create_task(self._watch_silence(), name=f"pull {self.consumer.name}")

    async def stop(self) -> None:
        """Asks for nothing more. What waits unread is given back for others to work on."""
        self._pausing = True
        if self._watch is not None:
            self._watch.cancel()
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        await self.give_back(0, 0.05)

    def pause(self) -> None:
        """Asks for nothing more until `resume`."""
        self._pausing = True

    async def resume(self) -> None:
        """Goes on asking."""
        self._pausing = False
        await self._request()

    async def give_back(self, keep: int, delay_s: float) -> None:
        """Gives back all that waits here but the first `keep`; it comes again after `delay_s`, to anybody."""
        while len(self._waiting) > keep:
            await self._waiting.pop().nak(delay_s)

    async def extend(self) -> None:
        """Keeps what waits here from going to others."""
        for message in list(self._waiting):
            await message.in_progress()

    def __len__(self) -> int:
        """Messages that wait here."""
        return len(self._waiting)

    async def take(self, most: int) -> list[Message]:
        """Up to `most` waiting messages, at once; empty where none wait."""
        found = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if found:
            await self._request()
        return found

    async def work(
        self, stopping: asyncio.Event, most: int, turn: Callable[[list[Message]], Awaitable[None]]
    ) -> None:
        """Has `turn` settle up to `most` messages at a time, one turn after another, until `stopping` is set."""
        await self.start()
        waker = asyncio.create_task(wake_when(stopping, self._wake), name="wake")
        try:
            while not stopping.is_set():
                if taken := await self.take(most):
                    await turn(taken)
                else:
                    await ready(self._wake, stopping)
        finally:
            waker.cancel()
            await self.stop()

    async def _request(self) -> None:
        room = self._window - len(self._waiting) - self._requested
        if self._pausing or room < self._window // 2 or not self._bus.connected:
            return
        self._requested += room
        self._heard = time.monotonic()
        ask = {"batch": room, "expires": _EXPIRES_S * 10**9, "idle_heartbeat": _HEARTBEAT_S * 10**9}
        call = f"$JS.API.CONSUMER.MSG.NEXT.{self.consumer.stream}.{self.consumer.name}"
        await self._bus.client.publish(call, msgspec.json.encode(ask), self._inbox)

    async def _on_message(self, raw: Msg) -> None:
        self._heard = time.monotonic()
        # The server's own words about a request want no ack. A header may say anything.
        if raw.reply.startswith(_ACK):
            self._requested = max(0, self._requested - 1)
            self._waiting.append(Message(self._bus, raw))
            self._wake.set()
            return
        status = (raw.headers or {}).get("Status")
        if status == "100":  # heartbeat
            return
        # The request ended: 408 expired, 409 cut short by the server, 404 and 503 nobody there.
        self._requested = 0
        if status not in {"404", "408"}:
            log.warning("pull_ended", consumer=self.consumer.name, status=status)
            await asyncio.sleep(0.2)
        await self._request()

    async def _again(self) -> None:
        self._requested = 0
        await self._bus.ensure_consumer(self.consumer)
        await self._request()

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            if self._requested and time.monotonic() - self._heard > _SILENCE_S and self._bus.connected:
                log.warning("pull_silent", consumer=self.consumer.name)
                self._requested = 0
            await self._request()


async def ready(wake: asyncio.Event, stopping: asyncio.Event, most_s: float = 1.0) -> None:
    """Waits until messages wait, `stopping` is set, or `most_s` passed; clears `wake`."""
    if stopping.is_set():
        return
    try:
        async with asyncio.timeout(most_s):
            await wake.wait()
    except TimeoutError:
        pass
    wake.clear()
