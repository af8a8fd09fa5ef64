"""The open sockets of people on this node, kept on the board so that all nodes can count them, and who of these
people did something lately."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice

from crown.breaker import Away
from crown.gather import Gather
from services.realtime.presence.board import Board, Figures, Lost, Seat

# Sockets that are written in one step.
_AT_ONCE = 250


class Seats:
    """The sockets of a node. `node` answers its name on the board, empty while it is not there; `lose` hears that the
    board does not know a node any more, `wake` that there is something to `write`."""

    def __init__(
        self,
        board: Board,
        figures: Figures,
        node: Callable[[], str],
        lose: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        self._board = board
        self._figures = figures
        self._node = node
        self._lose = lose
        self._wake = wake
        # By person.
        self._open: dict[str, set[str]] = {}
        # What is to be written, by person and socket.
        self.unwritten: dict[tuple[str, str], Seat] = {}
        # When people were last said to be active, and who was since.
        self._active: dict[str, float] = {}
        self._touched: set[str] = set()
        self._seat: Gather[Seat, int] = Gather(self._seat_many, parallel=1)
        self._seating = asyncio.Lock()

    def __len__(self) -> int:
        """How many people have sockets here."""
        return len(self._open)

    def here(self, user_id: str) -> int:
        """How many sockets of a person are open here."""
        return len(self._open.get(user_id, ()))

    async def register(self, user_id: str, socket_id: str) -> int:
        """One more open socket; answers how many the person has on all living nodes. Raises Away: it is then written
        later."""
        self._open.setdefault(user_id, set()).add(socket_id)
        self._active[user_id] = time.monotonic()
        count = await self._seat(Seat(user_id, socket_id, True))
        return max(count, self.here(user_id))

    def unregister(self, user_id: str, socket_id: str) -> None:
        """A socket closed; nothing where it is not known."""
        if not self._is_open(user_id, socket_id):
            return
        here = self._open[user_id]
        here.discard(socket_id)
        if not here:
            del self._open[user_id]
            self._active.pop(user_id, None)
        self._leave(user_id, socket_id)

    def unregister_all(self) -> None:
        """All sockets closed."""
        for user_id, sockets in list(self._open.items()):
            for socket_id in list(sockets):
                self.unregister(user_id, socket_id)

    def active(self, user_id: str) -> None:
        """A person with a socket here did something."""
        now = time.monotonic()
        last = self._active.get(user_id)
        if last is not None and now - last >= self._figures.active_s:
            self._active[user_id] = now
            self._touched.add(user_id)

    def renew(self) -> None:
        """All are to be written: the node is on the board under a new name."""
        self.unwritten = {
            (user_id, socket_id): Seat(user_id, socket_id, True)
            for user_id, sockets in self._open.items()
            for socket_id in sockets
        }

    async def write(self, node: str) -> None:
        """Writes what is to be written while the node has this name. Raises Away and Lost."""
        while self.unwritten and node == self._node():
            batch = dict(islice(self.unwritten.items(), _AT_ONCE))
            for place in batch:
                del self.unwritten[place]
            try:
                async with self._seating:
                    await self._board.seat(node, list(batch.values()))
            except BaseException:
                self.unwritten = {**batch, **self.unwritten}
                raise

    async def write_active(self) -> None:
        """Writes who did something since. Raises Away."""
        if not self._touched:
            return
        touched, self._touched = self._touched, set()
        try:
            await self._board.touch(list(touched))
        except Away:
            self._touched |= touched & self._active.keys()
            raise

    async def _seat_many(self, seats: list[Seat]) -> list[int]:
        node = self._node()
        if not node:
            raise Away("the node is not on the board")
        try:
            async with self._seating:
                return await self._board.seat(node, seats)
        except Away:
            for seat in seats:
                self.unwritten.setdefault((seat.user_id, seat.socket_id), seat)
            raise
        except Lost:
            self._lose(node)
            raise Away("the node is not on the board") from None
        finally:
            for seat in seats:
                if not self._is_open(seat.user_id, seat.socket_id):
                    # It closed meanwhile, and that may have been written before.
                    self._leave(seat.user_id, seat.socket_id)

    def _is_open(self, user_id: str, socket_id: str) -> bool:
        return socket_id in self._open.get(user_id, ())

    def _leave(self, user_id: str, socket_id: str) -> None:
        if self._node():
            self.unwritten[user_id, socket_id] = Seat(user_id, socket_id, False)
            self._wake()
