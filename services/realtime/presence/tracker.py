"""Who is present through this node. Channels and sockets say so without waiting; a task writes it to the board 50 ms
later and then tells everybody. This order matters: who reads a state and missed the telling finds it written.

What this node holds is the truth, the board a copy of it. Where the copy is lost, since the board came back empty or
others took a hanging node for dead, the node writes everything again, under a new name and with new phx_refs, so that
what is still told about the old ones cannot touch the new."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from crown import logs, metrics
from crown.breaker import Away
from services.realtime.presence.board import Board, Change, Figures, Lost, View
from services.realtime.presence.diff import Row
from services.realtime.presence.held import Held, new_name
from services.realtime.presence.reaper import Reaper
from services.realtime.presence.seats import Seats
from services.realtime.presence.telling import Publish, Telling
from services.realtime.presence.views import Encoded, Event, Views

log = logs.get(__name__)

# Changes that are written in one step.
_AT_ONCE = 250
# Topics whose people are sent a state at once.
_REFRESHED_AT_ONCE = 500
_CLOSE_LIMIT_S = 2.0


def _nobody(topic: str) -> None:
    del topic


class Tracker:
    """The present of a node. `run` has to run beside. `refresh` is called with each topic of which everybody here is
    to be sent the state once more: where `state` had to leave out other nodes, once they can be read again; and a
    while after the node was lost."""

    def __init__(
        self,
        board: Board,
        publish: Publish,
        refresh: Callable[[str], None] = _nobody,
        figures: Figures | None = None,
    ) -> None:
        self._board = board
        self._refresh = refresh
        self._figures = figures or Figures()
        # Its name on the board; empty while it is not there.
        self._node = ""
        self._before = ""
        self._beaten = 0.0
        # When everybody here is to be sent the state once more, and the topics of which that is still to be done.
        self._refresh_from = float("inf")
        self._refreshable: list[str] = []
        # The channels that it holds, by topic and handle.
        self._held: dict[str, dict[str, Held]] = {}
        self._version = 0
        self._last_at = 0
        # What is to be written: changes by topic and ref, and of those the ones of which nobody was told yet.
        self._unwritten: dict[tuple[str, str], Change] = {}
        self._unheard: dict[tuple[str, str], Change] = {}
        self._work = asyncio.Event()
        self._work.set()
        self._retry: asyncio.TimerHandle | None = None
        self._flushing = asyncio.Lock()
        self._seats = Seats(board, self._figures, lambda: self._node, self._lose, self._work.set)
        self._telling = Telling(board, publish, self._plain, self._held.__contains__, self._work.set)
        self._reaper = Reaper(board, self._telling.attempt, self._telling.settle)
        self._views = Views(
            self._read, self._rows, self._telling.is_crowded, lambda: self._version, self._figures
        )

    # -- channels

    def track(self, topic: str, key: str, meta: Mapping[str, Any] | None = None) -> str:
        """Shows one more channel of `key` on `topic`; answers the handle by which it is changed and ended."""
        self._last_at = max(time.time_ns() // 1000, self._last_at + 1)
        held = Held(topic, key, self._last_at, meta or {})
        handle = held.ref
        self._held.setdefault(topic, {})[handle] = held
        metrics.PRESENT.inc()
        self._change(held.joined())
        return handle

    def update(self, topic: str, handle: str, meta: Mapping[str, Any]) -> None:
        """Shows another meta; nothing where the channel is not shown."""
        held = self._held.get(topic, {}).get(handle)
        if held is not None:
            for change in held.renew(meta):
                self._change(change)

    def untrack(self, topic: str, handle: str) -> None:
        """Shows the channel no more; nothing where it is not shown."""
        here = self._held.get(topic, {})
        held = here.pop(handle, None)
        if held is None:
            return
        if not here:
            del self._held[topic]
            self._telling.forget(topic)
        metrics.PRESENT.dec()
        self._change(held.left())

    async def state(self, topic: str) -> list[Encoded]:
        """The events to send to one who joined `topic`, in order, encoded: who is there, or of a crowded topic how
        many people. To be sent in the same step. While the board is away it knows of this node alone."""
        found = await self._views.encoded(topic)
        if topic in self._views.partial:
            self._again()
        return found

    def heard(self, topic: str, event: str, payload: bytes | msgspec.Raw) -> None:
        """Everybody here who is on `topic` is being told this JSON: a state that is read meanwhile takes it in."""
        self._views.heard(topic, event, payload)

    # -- sockets

    async def register(self, user_id: str, socket_id: str) -> int:
        """One more open socket of a person; answers how many they have on all living nodes, of this one alone
        while the board is away. `unregister` has to follow in any case."""
        try:
            return await self._seats.register(user_id, socket_id)
        except Away:
            self._again()
            return self._seats.here(user_id)

    def unregister(self, user_id: str, socket_id: str) -> None:
        """A socket closed; nothing where it is not known."""
        self._seats.unregister(user_id, socket_id)

    def active(self, user_id: str) -> None:
        """A person with a socket here did something."""
        self._seats.active(user_id)

    # -- what runs beside

    async def run(self) -> None:
        """Works until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flush_when_due())
            for period_s, work in (
                (self._figures.beat_s, self._beat),
                (self._figures.look_s, self._look),
                (self._figures.count_s / 2, self._tend),
            ):
                tasks.create_task(self._every(period_s, work))

    async def close(self) -> None:
        """Takes the node and all that it holds off the board, and tells everybody; after `run` was cancelled. Gives
        up after two seconds: the node is then taken for dead a little later."""
        for topic, here in list(self._held.items()):
            for handle in list(here):
                self.untrack(topic, handle)
        self._seats.unregister_all()
        try:
            async with asyncio.timeout(_CLOSE_LIMIT_S):
                if await self._flush() and self._node:
                    await self._board.end(self._node)
        except (Away, TimeoutError):
            log.warning("presence_left_behind")
        self._node = ""

    async def _flush_when_due(self) -> None:
        while True:
            await self._work.wait()
            await asyncio.sleep(self._figures.gather_s)
            self._work.clear()
            await _guarded(self._flush)

    async def _every(self, period_s: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            done = await _guarded(work)
            await asyncio.sleep(period_s if done else min(period_s, self._figures.retry_s))

    def _again(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._figures.retry_s, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._work.set()

    async def _flush(self) -> bool:
        """Writes what is to be written and tells what is to be told; False where not all of it could be."""
        async with self._flushing:
            return await self._write_and_tell()

    async def _write_and_tell(self) -> bool:
        node, written = self._node, False
        try:
            if not node:
                node = await self._enter()
            await self._seats.write(node)
            await self._write(node)
            await self._refresh_partial(node)
            written = True
        except Away:
            self._give_up_on_writing()
        except Lost:
            self._lose(node)
        told = await self._telling.tell()
        if not (written and told):
            self._again()
        return written and told

    # -- the node

    async def _enter(self) -> str:
        """Puts the node on the board under a new name, with everything that it holds: where it was there before,
        under new phx_refs."""
        node = new_name(9)
        await self._board.begin(node, self._before)
        again = self._before != ""
        if again:
            # Others would do it, and tell that everybody left; and what is there twice counts twice.
            await self._reaper.clear(self._before, quietly=True)
            self._before = ""
        self._beaten = time.monotonic()
        left = [change for change in self._unwritten.values() if not change.record]
        self._unwritten.clear()
        self._unheard.clear()
        for change in left:
            self._telling.put(change)
        if again:
            # Who died while the board knew of nobody is cleared away by nobody: states will tell, once all others
            # had time to come back.
            self._refresh_from = time.monotonic() + self._figures.ttl_s
        self._node = node
        for here in self._held.values():
            for held in here.values():
                for change in held.renew() if again else (held.joined(),):
                    self._change(change)
        self._seats.renew()
        return node

    async def _beat(self) -> None:
        node = self._node
        if not node:
            return
        try:
            await self._board.beat(node)
        except Lost:
            self._lose(node)
        else:
            self._beaten = time.monotonic()

    async def _look(self) -> None:
        # A node that hung would clear itself away, in place of coming back.
        await self._beat()
        if self._node:
            await self._reaper.look()

    def _lose(self, node: str) -> None:
        if node and node == self._node:
            log.warning("presence_lost", topics=len(self._held), people=len(self._seats))
            self._before, self._node = node, ""
        self._work.set()

    # -- writing

    def _change(self, change: Change) -> None:
        self._version += 1
        if self._node:
            # Behind what was changed before, and in place of what was not yet written.
            self._unwritten.pop((change.topic, change.ref), None)
            self._unwritten[change.topic, change.ref] = self._unheard[change.topic, change.ref] = change
        else:
            # It is not on the board, and will be written whole.
            self._telling.put(change)
        self._work.set()

    async def _write(self, node: str) -> None:
        while self._unwritten and node == self._node:
            batch = dict(islice(self._unwritten.items(), _AT_ONCE))
            for place in batch:
                del self._unwritten[place]
            try:
                standings = await self._board.write(node, list(batch.values()))
            except BaseException:
                self._unwritten = {**batch, **self._unwritten}
                raise
            for place, change in batch.items():
                if self._unheard.get(place) is change:
                    del self._unheard[place]
                self._telling.put(change)
            self._telling.settle(standings)
            await self._telling.tell_changes()

    def _give_up_on_writing(self) -> None:
        """The board is away: those who are connected hear of it now, and once more when it is written, since who
        read a state in between may have missed it."""
        for change in self._unheard.values():
            self._telling.put(change)
        self._unheard.clear()
        if self._node and time.monotonic() - self._beaten > self._figures.ttl_s:
            self._lose(self._node)

    async def _tend(self) -> None:
        """What is done now and then: states told once more, who was active, numbers of crowded topics."""
        await self._telling.tell_turned_again()
        self._refresh_some()
        await self._seats.write_active()
        await self._telling.tell_counts()

    # -- reading

    async def _read(self, topics: Sequence[str]) -> list[View]:
        return await self._board.views(self._node, topics)

    async def _plain(self, topic: str) -> list[Event]:
        return await self._views.plain(topic)

    def _rows(self, topic: str) -> Iterable[Row]:
        return [held.row() for held in self._held.get(topic, {}).values()]

    def _refresh_some(self) -> None:
        if time.monotonic() >= self._refresh_from:
            self._refresh_from = float("inf")
            self._refreshable = list(self._held)
        for topic in self._refreshable[:_REFRESHED_AT_ONCE]:
            self._refresh(topic)
        del self._refreshable[:_REFRESHED_AT_ONCE]

    async def _refresh_partial(self, node: str) -> None:
        if self._views.partial:
            await self._board.beat(node)
            partial, self._views.partial = self._views.partial, set()
            for topic in partial:
                self._refresh(topic)


async def _guarded(work: Callable[[], Awaitable[object]]) -> bool:
    """False where the board is away. One failure must not end the others, and with them the process."""
    try:
        await work()
    except Away:
        return False
    except Exception as error:
        log.error("presence_failed", exc_info=error)
    return True
