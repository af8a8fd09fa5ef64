"""What the bus has for this node: live events by topic, where each topic stands, and the epoch. After every
reconnect the epoch is read anew; until then what arrives belongs to no epoch and is thrown away, which is no
loss, since everybody is then told to read the inbox."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from hashlib import blake2b

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from crown import logs, subjects
from crown.bus import Bus, BusError
from crown.errors import BusUnavailable, CrownError
from services.realtime.address import Address

log = logs.get(__name__)

_RETRY_S = 0.25
_ANSWER_TIMEOUT_S = 3.0
_LAST = f"$JS.API.DIRECT.GET.{subjects.REALTIME}"

Receive = Callable[[Msg], None]


class _Tap:
    """Stands where the NATS client would take a future, and is never done: it then hands over each message in
    the step that read it from the network, without a queue and a task for every person who is here."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def cancelled(self) -> bool:
        """Never."""
        return False

    def set_result(self, message: Msg) -> None:
        """Takes one more message."""
        self._receive(message)


class Feed:
    """The live events of a node. `run` has to run beside."""

    def __init__(self, bus: Bus, stream_max_bytes: int) -> None:
        self._bus = bus
        self._stream_max_bytes = stream_max_bytes
        self.epoch = ""
        self._reconnects = -1
        self._released: deque[Subscription] = deque()
        self._work = asyncio.Event()
        bus.on_reconnect(self._reconnected)

    @property
    def current(self) -> bool:
        """True while what arrives belongs to `epoch`."""
        # The client counts before it subscribes again: nothing of the new connection comes earlier.
        return bool(self._bus.client.stats["reconnects"] == self._reconnects)

    async def start(self) -> None:
        """Reads the epoch. Raises BusUnavailable or BusError."""
        reconnects = self._bus.client.stats["reconnects"]
        found = await self._bus.api(f"STREAM.INFO.{subjects.REALTIME}")
        replicas = int(found["config"].get("num_replicas", 1))
        self.epoch = epoch(found["created"], self._server(), replicas)
        self._reconnects = reconnects

    async def open(self, address: Address, receive: Receive) -> Subscription:
        """Hears `address` from now on; `receive` must not raise. Raises BusUnavailable."""
        if not self._bus.connected:
            raise BusUnavailable("the bus is away; try again")
        try:
            return await self._bus.client.subscribe(address.live, future=_Tap(receive))  # type: ignore[arg-type]
        except nats.errors.Error as error:
            raise BusUnavailable(f"the bus is away ({type(error).__name__})") from error

    def close(self, subscription: Subscription) -> None:
        """Stops hearing, soon."""
        self._released.append(subscription)
        self._work.set()

    async def last_offset(self, address: Address) -> int:
        """The offset of the last event kept for `address`; 0 where there is none. The server has seen earlier
        subscriptions of this connection once it answers. Raises BusUnavailable."""
        if not self._bus.connected:
            raise BusUnavailable("the bus is away; try again")
        try:
            found = await self._bus.client.request(f"{_LAST}.{address.source}", timeout=_ANSWER_TIMEOUT_S)
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable(f"the bus does not answer ({type(error).__name__})") from error
        headers = found.headers or {}
        if headers.get("Status") == "404":
            return 0
        if "Nats-Sequence" not in headers:
            raise BusUnavailable("the bus does not say where the topic stands")
        return int(headers["Nats-Sequence"])

    async def run(self, on_gap: Callable[[], None]) -> None:
        """Works until it is cancelled. `on_gap` is called after each reconnect, with the new epoch read."""
        while True:
            await self._work.wait()
            self._work.clear()
            if not self.current and self._bus.connected:
                await self._start_again()
                on_gap()
            while self._released:
                await self._unsubscribe(self._released.popleft())

    async def _start_again(self) -> None:
        while not await self._attempt(self.start):
            # The store may have come back empty, and then has no stream.
            await self._attempt(lambda: self._bus.ensure(self._stream_max_bytes))
            await asyncio.sleep(_RETRY_S)
        log.info("epoch_read", epoch=self.epoch)

    async def _attempt(self, action: Callable[[], Awaitable[None]]) -> bool:
        try:
            await action()
        except (CrownError, BusError) as error:
            log.warning("epoch_unread", error=type(error).__name__)
            return False
        return True

    async def _unsubscribe(self, subscription: Subscription) -> None:
        try:
            await subscription.unsubscribe()
        except nats.errors.Error as error:
            log.warning("unsubscribe_failed", error=type(error).__name__)

    async def _reconnected(self) -> None:
        self._work.set()

    def _server(self) -> str:
        # The client keeps what the server said of itself, and has no public way to ask for this.
        return str(self._bus.client._server_info.get("server_id", ""))


def epoch(created: str, server_id: str, replicas: int) -> str:
    """Names a sequence that never takes a number twice. A single server that lost power may hand out numbers
    again under the same stream, so each of its runs is an epoch; replicas outlive the run of one."""
    run = server_id if replicas == 1 else ""
    return blake2b(f"{created} {run}".encode(), digest_size=6).hexdigest()
