"""What the bus has for this node: live events by topic, where each topic stands, what was missed, and the epoch.
After every reconnect the epoch is read anew; until then what arrives belongs to no epoch and is thrown away,
which is no loss, since every topic is then compared with the stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from crown import logs, subjects
from crown.bus import Bus, BusError
from crown.bus.direct import SUBJECTS_MOST, Direct, Receive, Tap, sequence
from crown.errors import BusUnavailable, CrownError
from crown.gather import Gather
from crown.live_position import epoch
from services.realtime.address import Address

log = logs.get(__name__)

_RETRY_S = 0.25
_TELL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a topic stands: `last` is its last event that is kept, 0 where none is. Every event up to `offset`
    is older than the question."""

    last: int
    offset: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The first and the last sequence that the stream holds."""

    first: int
    last: int


class Feed:
    """The live events of a node. `run` has to run beside."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._direct = Direct(bus, subjects.REALTIME)
        self.epoch = ""
        self._reconnects = -1
        # The last sequence of the stream when somebody looked.
        self.floor = 0
        self._released: deque[Subscription] = deque()
        self._work = asyncio.Event()
        # Many who ask at once are answered by one question.
        self.standing: Gather[Address, Standing] = Gather(self._standing, most=SUBJECTS_MOST // 2)
        self._look: Gather[None, Bounds] = Gather(self._bounds, most=10_000, parallel=1)
        bus.on_reconnect(self._reconnected)

    @property
    def current(self) -> bool:
        """True while what arrives belongs to `epoch`."""
        # The client counts before it subscribes again: nothing of the new connection comes earlier.
        return bool(self._bus.client.stats["reconnects"] == self._reconnects)

    async def start(self) -> None:
        """Listens, and reads the epoch. Raises BusUnavailable or BusError."""
        await self._direct.start()
        await self._read_epoch()

    async def open(self, address: Address, receive: Receive) -> Subscription:
        """Hears `address` from now on; `receive` must not raise. Raises BusUnavailable."""
        if not self._bus.connected:
            raise BusUnavailable("the bus is away; try again")
        try:
            return await self._bus.client.subscribe(address.live, future=Tap(receive))  # type: ignore[arg-type]
        except nats.errors.Error as error:
            raise BusUnavailable(f"the bus is away ({type(error).__name__})") from error

    def close(self, subscription: Subscription) -> None:
        """Stops hearing, soon."""
        self._released.append(subscription)
        self._work.set()

    async def tell(self, address: Address, body: bytes) -> None:
        """Sends `body` to every node that hears `address`; nobody keeps it. Raises BusUnavailable."""
        if not self._bus.connected:
            raise BusUnavailable("the bus is away; try again")
        try:
            async with asyncio.timeout(_TELL_TIMEOUT_S):
                await self._bus.client.publish(address.live, body)
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable(f"the bus is away ({type(error).__name__})") from error

    async def bounds(self) -> Bounds:
        """What the stream holds at this moment. Raises BusUnavailable."""
        return await self._look(None)

    async def kept(self, address: Address, offset: int, most: int) -> list[Msg]:
        """The first `most` events of the topic that are kept, from `offset` on. Raises BusUnavailable."""
        return await self._direct.after(address.source, offset, most)

    async def run(self, on_gap: Callable[[bool], None]) -> None:
        """Works until it is cancelled. `on_gap` is called after each reconnect, with True where the epoch is still
        the same."""
        while True:
            await self._work.wait()
            self._work.clear()
            if not self.current and self._bus.connected:
                before = self.epoch
                await self._start_again()
                on_gap(self.epoch == before)
            while self._released:
                await self._unsubscribe(self._released.popleft())

    async def _read_epoch(self) -> None:
        reconnects = self._bus.client.stats["reconnects"]
        found = await self._bus.api(f"STREAM.INFO.{subjects.REALTIME}")
        replicas = int(found["config"].get("num_replicas", 1))
        self.epoch = epoch(found["created"], self._bus.server_id, replicas)
        self.floor = int(found["state"]["last_seq"])
        self._reconnects = reconnects

    async def _standing(self, addresses: list[Address]) -> Sequence[Standing]:
        # Read earlier than the answer below, which then covers all up to it.
        floor = self.floor
        found = await self._direct.last(list({address.source for address in addresses}))
        lasts = {source: sequence(message) for source, message in found.items()}
        return [
            Standing(last, max(last, floor))
            for last in (lasts.get(address.source, 0) for address in addresses)
        ]

    async def _bounds(self, asked: list[None]) -> Sequence[Bounds]:
        try:
            found = (await self._bus.api(f"STREAM.INFO.{subjects.REALTIME}"))["state"]
        except BusError as error:
            raise BusUnavailable(f"the bus does not say what it keeps ({error.err_code})") from error
        self.floor = max(self.floor, int(found["last_seq"]))
        return [Bounds(int(found["first_seq"]), int(found["last_seq"]))] * len(asked)

    async def _start_again(self) -> None:
        while not await self._attempt(self._read_epoch):
            # The store may have come back empty, and then has no stream.
            await self._attempt(self._bus.ensure)
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
