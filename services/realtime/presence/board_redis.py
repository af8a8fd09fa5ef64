"""The board in Redis. Each call is one script, so that no other node sees half of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from crown.breaker import Away, Breaker
from services.realtime.presence import scripts
from services.realtime.presence.board import Change, Figures, Lost, Seat, Standing, View

_PACKER = msgspec.msgpack.Encoder()
_ACTIVE_KEPT_S = 30 * 86_400


class RedisBoard:
    """See Board. `redis` must answer bytes; it is closed by who opened it."""

    def __init__(
        self, redis: Redis, figures: Figures | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._figures = figures or Figures()
        self._clock = clock
        self._breaker = Breaker()
        # Of the server when the node began: another run may have forgotten the last that it was told.
        self._run = b""
        # Of the last call that wrote: Redis refuses those that come behind a later one.
        self._number = 0
        register = redis.register_script
        self._begin, self._beat, self._end = map(register, (scripts.BEGIN, scripts.BEAT, scripts.END))
        self._write, self._seat, self._touch = map(register, (scripts.WRITE, scripts.SEAT, scripts.TOUCH))
        self._views, self._counts = register(scripts.VIEWS), register(scripts.COUNTS)
        self._claim, self._remains = register(scripts.CLAIM), register(scripts.REMAINS)
        self._bury, self._unseat = register(scripts.BURY), register(scripts.UNSEAT)

    async def begin(self, node: str, before: str) -> None:
        """See Board."""
        self._run = await self._do(self._begin, node, before, _ms(self._figures.ttl_s))

    async def beat(self, node: str) -> None:
        """See Board."""
        if await self._do(self._beat, node, _ms(self._figures.ttl_s)) != self._run:
            raise Lost

    async def end(self, node: str) -> None:
        """See Board."""
        await self._do(self._end, node)

    async def write(self, node: str, changes: Sequence[Change]) -> list[Standing]:
        """See Board."""
        told = (self._next(), self._figures.crowd, self._figures.crowd_ends)
        return _standings(await self._do(self._write, node, *told, _packed(changes)))

    async def seat(self, node: str, seats: Sequence[Seat]) -> list[int]:
        """See Board."""
        packed = _PACKER.encode([(seat.user_id, seat.socket_id, seat.opened) for seat in seats])
        told = (self._next(), int(self._clock()), _ACTIVE_KEPT_S)
        found: list[int] = await self._do(self._seat, node, *told, packed)
        return found

    async def touch(self, user_ids: Sequence[str]) -> None:
        """See Board."""
        await self._do(self._touch, int(self._clock()), _ACTIVE_KEPT_S, *user_ids)

    async def views(self, node: str, topics: Sequence[str]) -> list[View]:
        """See Board."""
        found = await self._do(self._views, node, self._figures.crowd, *topics)
        return [View(records, bool(crowded), people) for crowded, people, records in found]

    async def counts(self, topics: Sequence[str]) -> list[int | None]:
        """See Board."""
        found = await self._do(self._counts, _ms(self._figures.count_s), *topics)
        return [None if people == -2 else people for people in found]

    async def claim(self) -> str:
        """See Board."""
        found: bytes = await self._do(self._claim, _ms(self._figures.hold_s))
        return found.decode()

    async def remains(self, dead: str, most: int) -> list[tuple[Change, bool]]:
        """See Board."""
        found = await self._do(self._remains, dead, most)
        return [
            (Change(topic.decode(), ref.decode(), "", record), bool(crowded))
            for topic, ref, record, crowded in found
        ]

    async def bury(self, dead: str, changes: Sequence[Change]) -> list[Standing]:
        """See Board."""
        told = (self._figures.crowd, self._figures.crowd_ends, _ms(self._figures.hold_s))
        return _standings(await self._do(self._bury, dead, *told, _packed(changes)))

    async def unseat(self, dead: str, most: int) -> bool:
        """See Board."""
        return bool(await self._do(self._unseat, dead, most, _ms(self._figures.hold_s)))

    async def _do(self, script: Callable[..., Any], *parts: Any) -> Any:
        found = await self._breaker.call(lambda: script(args=parts))
        if found == scripts.LOST:
            raise Lost
        if found == scripts.LATE:
            raise Away("a later call was there before")
        return found

    def _next(self) -> int:
        self._number += 1
        return self._number


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _packed(changes: Sequence[Change]) -> bytes:
    # As text: Redis does not read MessagePack's binaries.
    return _PACKER.encode(
        [(change.topic, change.ref, change.key, change.record.decode()) for change in changes]
    )


def _standings(found: Sequence[tuple[bytes, int, int]]) -> list[Standing]:
    return [Standing(topic.decode(), bool(crowded), bool(turned)) for topic, crowded, turned in found]
