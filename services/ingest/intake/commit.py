"""Group commit: many requests, few fsyncs. A lone request is published by itself, which is quickest; when more
than about ten come within twenty milliseconds, or the disk is so slow that ten are still being stored, those that
wait go together as one atomic batch."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from crown import logs, metrics, tracing
from crown.bus import BATCH_MOST, Bus, BusError, NoTaker, Outgoing
from crown.errors import BusUnavailable, CrownError, OutcomeUnknown, Unavailable

log = logs.get(__name__)

_BUSY_COUNT = 10
_BUSY_WITHIN_S = 0.020
# Lone requests under way at once: each costs an fsync, and they are stored one after another.
_PLAIN_MOST = 10
# A batch waits until about ten have come, and no longer or shorter than this.
_LINGER_LEAST_S = 0.003
_LINGER_MOST_S = 0.010
# Batches of this process under way at once; the server takes fifty from all processes together.
_BATCHES_MOST = 2
_BATCH_MOST_BYTES = 4 << 20
_CONFIRM_S = 2.0
# Seconds between two tries to learn what became of messages that may be stored.
_AGAIN_S = 0.1
# Seconds in which another server of a cluster leads a stream whose leader has gone.
_TURN_S = 2.0
# Messages of one request whose dispatch is part of its trace.
_TRACED_MOST = 10
# Seconds that a request waits for the bus in all, and then says "unknown".
PATIENCE_S = 8.0


@dataclass(slots=True)
class _Unit:
    """The messages of one request: they are stored together or not at all."""

    messages: list[Outgoing]
    future: asyncio.Future[None]
    until: float


class GroupCommit:
    """Publishes to one lane's intake."""

    def __init__(self, bus: Bus, subject: str) -> None:
        self._bus = bus
        self._subject = subject
        self._waiting: deque[_Unit] = deque()
        self._arrivals: deque[float] = deque(maxlen=_BUSY_COUNT + 1)
        self._batches = 0
        self._plain = 0
        self._lingering = False
        # Since when no stream takes what is published, in seconds of the loop's clock; None while one does.
        self._untaken: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, payloads: list[bytes]) -> None:
        """Returns when all are stored. Raises IntakeFull or BusUnavailable where nothing was, OutcomeUnknown
        where nobody can say. A caller that gives up takes nothing back: what began is finished."""
        loop = asyncio.get_running_loop()
        trace = tracing.current()
        headers, others = {tracing.HEADER: trace}, {tracing.HEADER: tracing.unsampled(trace)}
        messages = [
            # A trace is to be looked at: of many that come together, the first are enough.
            Outgoing(self._subject, payload, headers if number < _TRACED_MOST else others)
            for number, payload in enumerate(payloads)
        ]
        unit = _Unit(messages, loop.create_future(), loop.time() + PATIENCE_S)
        self._arrivals.append(loop.time())
        if self._busy(loop.time()) or self._waiting or self._plain >= _PLAIN_MOST:
            self._waiting.append(unit)
            self._pump()
        else:
            self._spawn([unit])
        await asyncio.shield(unit.future)

    def _busy(self, moment: float) -> bool:
        return len(self._arrivals) > _BUSY_COUNT and moment - self._arrivals[0] < _BUSY_WITHIN_S

    def _pump(self) -> None:
        if self._lingering or not self._waiting or self._batches >= _BATCHES_MOST:
            return
        if self._batches:
            # The one under way is the linger: what comes meanwhile rides the next.
            return
        self._lingering = True
        loop = asyncio.get_running_loop()
        # The last ten took this long to come, and so will the next.
        ten_s = loop.time() - self._arrivals[0]
        loop.call_later(min(max(ten_s, _LINGER_LEAST_S), _LINGER_MOST_S), self._flush)

    def _flush(self) -> None:
        self._lingering = False
        while self._waiting and self._batches < _BATCHES_MOST:
            self._spawn(self._together())

    def _together(self) -> list[_Unit]:
        units: list[_Unit] = []
        count = size = 0
        while self._waiting:
            unit = self._waiting[0]
            count += len(unit.messages)
            size += sum(len(message.data) for message in unit.messages)
            if units and (count > BATCH_MOST or size > _BATCH_MOST_BYTES):
                break
            units.append(self._waiting.popleft())
        return units

    def _spawn(self, units: list[_Unit]) -> None:
        plain = len(units) == 1 and len(units[0].messages) == 1
        self._plain += plain
        self._batches += not plain
        task = asyncio.create_task(self._run(units, plain))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, units: list[_Unit], plain: bool) -> None:
        try:
            await self._commit(units, plain)
        finally:
            self._plain -= plain
            if not plain:
                self._batches -= 1
                self._flush()

    async def _commit(self, units: list[_Unit], plain: bool) -> None:
        try:
            await self._store(units)
        except CrownError as error:
            _fail(units, error)
        except Exception as error:
            log.exception("commit_failed")
            _fail(units, BusUnavailable(f"the bus refused ({type(error).__name__})"))
        else:
            metrics.COMMITS.labels("plain" if plain else "batch").inc()
            for unit in units:
                if not unit.future.done():
                    unit.future.set_result(None)

    async def _store(self, units: list[_Unit]) -> None:
        """Publishes until confirmed. A time-out is no refusal: the same goes again, and dispatch, which knows
        every notification by its id, drops what came twice."""
        loop = asyncio.get_running_loop()
        messages = [message for unit in units for message in unit.messages]
        unsure = False
        while True:
            try:
                await self._bus.publish_batch(messages, _CONFIRM_S)
                self._untaken = None
                return
            except OutcomeUnknown:
                unsure = True
            except (BusError, Unavailable) as error:
                if not unsure:
                    if await self._soon(error):
                        continue
                    await self._refused(units, error)
                    return
                # What went before may be stored: "no" would be a guess, and come at once again.
                await asyncio.sleep(_AGAIN_S)
            if loop.time() >= min(unit.until for unit in units):
                raise OutcomeUnknown("the bus did not confirm in time; retry with the same idempotency key")

    async def _soon(self, error: BusError | Unavailable) -> bool:
        """Waits for what is over in a moment, as when a server of a cluster is told to go, and says whether the same
        may go again: nobody has taken it."""
        if not isinstance(error, NoTaker):
            return isinstance(error, BusUnavailable) and await self._bus.back()
        moment = asyncio.get_running_loop().time()
        if self._untaken is None:
            self._untaken = moment
        if moment > self._untaken + _TURN_S:
            return False
        await asyncio.sleep(_AGAIN_S)
        return True

    async def _refused(self, units: list[_Unit], error: BusError | Unavailable) -> None:
        if isinstance(error, Unavailable):
            raise error
        if len(units) == 1:
            raise BusUnavailable(f"the bus refused ({error.err_code})") from error
        # Something in the batch, or the batch as such, was refused: each for itself.
        log.warning("batch_refused", err_code=error.err_code, count=len(units))
        await asyncio.gather(*(self._commit([unit], plain=True) for unit in units))


def _fail(units: list[_Unit], error: CrownError) -> None:
    for unit in units:
        if not unit.future.done():
            unit.future.set_exception(error)
            # A caller that is gone does not fetch it.
            unit.future.exception()
