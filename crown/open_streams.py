"""The streams that callers have open on a server: each goes on while the token that opened it is good."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crown.auth import LEEWAY_S, NOBODY, Principal
from crown.errors import CrownError, NotReady, Unauthenticated
from crown.revocations import Disconnect


class OpenStream:
    """One of them. `over` gets why it has to end, unless its token just expires."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.over: asyncio.Future[CrownError] = asyncio.get_running_loop().create_future()

    @property
    def left_s(self) -> float:
        """Seconds until its token expires; without one there is no end."""
        if self.principal is NOBODY:
            return math.inf
        return self.principal.expires + LEEWAY_S - time.time()

    def end(self, why: CrownError) -> None:
        """Ends it, where nothing has before."""
        if not self.over.done():
            self.over.set_result(why)

    def must_go_on(self) -> None:
        """Raises Unauthenticated and NotReady where it has to end."""
        if self.over.done():
            raise self.over.result()
        if self.left_s <= 0:
            raise Unauthenticated("the token has expired")


class OpenStreams:
    """Those of one server."""

    def __init__(self) -> None:
        self._open: set[OpenStream] = set()

    @contextmanager
    def opened(self, principal: Principal) -> Iterator[OpenStream]:
        """A stream of `principal`, while the block runs. Nothing may be awaited between the look at their token and
        this: what is told meanwhile would be missed."""
        stream = OpenStream(principal)
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)

    def cut_off(self, what: Disconnect) -> None:
        """Ends the streams of whom this means."""
        over = Unauthenticated("the token was revoked") if what.revoked else NotReady("open another stream")
        self._end(what.concerns, over)

    def withdraw(self, key_ids: frozenset[str]) -> None:
        """Ends the streams of those whose tokens these keys signed: they are no longer believed."""
        self._end(lambda principal: principal.key_id in key_ids, Unauthenticated("the token was revoked"))

    def _end(self, whose: Callable[[Principal], bool], why: CrownError) -> None:
        for stream in self._open:
            if whose(stream.principal):
                stream.end(why)
