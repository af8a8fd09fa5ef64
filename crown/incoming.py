"""Reads the requests of a stream for as long as that may go on: until the caller has sent all, its token is no longer
good, or this server is going away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Literal

from crown.errors import NotReady, Unauthenticated
from crown.open_streams import OpenStream


class Incoming:
    """What one caller sends on `stream`. `going` is set when the server is about to go."""

    def __init__(self, raw: AsyncIterator[bytes], stream: OpenStream, going: asyncio.Event) -> None:
        self._raw = raw
        self._stream = stream
        self._going = going

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Each request, as soon as it is asked for and there; ends when the caller has sent all. Raises
        Unauthenticated and NotReady."""
        leaving = asyncio.create_task(self._going.wait())
        try:
            while True:
                frame = await self._next(leaving)
                if frame is None:
                    return
                yield frame
        finally:
            leaving.cancel()

    async def _next(self, leaving: asyncio.Task[Literal[True]]) -> bytes | None:
        self._must_go_on()
        reading = asyncio.create_task(_read(self._raw))
        try:
            await asyncio.wait(
                (reading, leaving, self._stream.over),
                timeout=self._stream.left_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if reading.done():
                return reading.result()
        finally:
            reading.cancel()
        self._must_go_on()
        # The timer was a little early.
        raise Unauthenticated("the token has expired")

    def _must_go_on(self) -> None:
        if self._going.is_set():
            raise NotReady("this server is going away; go on with another stream")
        self._stream.must_go_on()


async def _read(raw: AsyncIterator[bytes]) -> bytes | None:
    return await anext(raw, None)
