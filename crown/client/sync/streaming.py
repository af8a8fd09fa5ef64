"""Many notifications over one stream, as crown/client/streaming.py sends them, without asyncio: drafts are asked for
in a thread of their own, so that results come while the next draft is still waited for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeAlias

import grpc

from crown.client.bulk import Sent
from crown.client.calls import pause_s
from crown.client.sync.calls import Calls, refusal
from crown.client.unanswered import ITEMS_MOST, Unanswered, goes_on
from crown.errors import CrownError, OutcomeUnknown
from crown.notification.v1.ingest_service_pb2 import (
    SendNotificationRequest,
    StreamNotificationsRequest,
    StreamNotificationsResponse,
)

Drafts: TypeAlias = Iterable[SendNotificationRequest]
Method: TypeAlias = "grpc.StreamStreamMultiCallable[StreamNotificationsRequest, StreamNotificationsResponse]"


def streamed(method: Method, calls: Calls, drafts: Drafts, window: int) -> Generator[Sent, None, None]:
    """What became of each draft, in order. Drafts are asked for, in a thread, as long as fewer than `window` wait for
    their results. Streams that break off are followed by another, until there was no result for as long as a call
    may take; then CrownError is raised. What asking for drafts raises is raised after all results."""
    feed = _Feed(drafts, window)
    threading.Thread(target=feed.fill, name="drafts", daemon=True).start()
    attempt = 0
    until = time.monotonic() + calls.patience.call_s
    try:
        while True:
            answered = False
            try:
                with closing(_once(method, calls, feed)) as results:
                    for sent in results:
                        yield sent
                        answered, attempt, until = True, 0, time.monotonic() + calls.patience.call_s
                break
            except CrownError as error:
                attempt += 1
                pause = pause_s(attempt, error.retry_after_s, calls.chance)
                if not goes_on(error, answered) or time.monotonic() + pause >= until:
                    raise
            time.sleep(pause)
    finally:
        feed.stop()
    if feed.error is not None:
        raise feed.error


def _once(method: Method, calls: Calls, feed: _Feed) -> Generator[Sent, None, None]:
    """The results of one stream."""
    turn = feed.turn()
    call = method(feed.requests(turn), metadata=calls.authorization())
    watch = _Watch(call, feed, calls.patience.call_s)
    threading.Thread(target=watch.run, name="watch", daemon=True).start()
    try:
        for answer in call:
            watch.heard()
            yield from feed.answered(answer)
            watch.heard()
        if not feed.done:
            raise OutcomeUnknown("the stream ended early")
    except grpc.RpcError as error:
        if watch.stalled:
            raise OutcomeUnknown("there was no result in time") from None
        raise refusal(error) from error
    finally:
        watch.ended.set()
        feed.turn()
        call.cancel()


class _Watch:
    """Ends a stream whose results stay away."""

    def __init__(self, call: grpc.Call, feed: _Feed, limit_s: float) -> None:
        self._call = call
        self._feed = feed
        self._limit_s = limit_s
        self.stalled = False
        self.ended = threading.Event()
        self.heard()

    def heard(self) -> None:
        """There was a result just now."""
        self._heard = time.monotonic()

    def run(self) -> None:
        while not self.ended.wait(self._limit_s / 10):
            if not self._feed.unanswered:
                self.heard()
            elif time.monotonic() - self._heard > self._limit_s:
                self.stalled = True
                self._call.cancel()
                return


class _Feed:
    """Drafts as they come, no more than `window` of them without a result. Streams take turns: one whose turn is over
    gets none."""

    def __init__(self, drafts: Drafts, window: int) -> None:
        self._drafts = drafts
        self._window = window
        self._waiting: deque[SendNotificationRequest] = deque()
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._turn = 0
        self.unanswered = Unanswered()
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether every draft has its result."""
        with self._changed:
            return self._ended and not self._waiting and not self.unanswered

    def fill(self) -> None:
        """Asks for drafts."""
        try:
            for draft in self._drafts:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._room())
                    if self._stopped:
                        return
                    self._waiting.append(draft)
                    self._changed.notify_all()
        except Exception as error:
            self.error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _room(self) -> bool:
        return len(self._waiting) + len(self.unanswered) < self._window

    def stop(self) -> None:
        """Asks for no more drafts, once one that is being asked for has come."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def turn(self) -> int:
        """The next turn, which ends the one before."""
        with self._changed:
            self._turn += 1
            self._changed.notify_all()
            return self._turn

    def requests(self, turn: int) -> Iterator[StreamNotificationsRequest]:
        """What a stream sends in its turn: first what has no result, then what comes up."""
        with self._changed:
            requests = self.unanswered.again()
        yield from requests
        while requests := self._more(turn):
            yield from requests

    def _more(self, turn: int) -> list[StreamNotificationsRequest]:
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or self._ended or self._stopped or turn != self._turn
            )
            if self._stopped or turn != self._turn:
                return []
            some = [self._waiting.popleft() for _ in range(min(ITEMS_MOST, len(self._waiting)))]
            return self.unanswered.add(some)

    def answered(self, answer: StreamNotificationsResponse) -> list[Sent]:
        """The results in an answer, which make room for others."""
        with self._changed:
            self._changed.notify_all()
            return self.unanswered.answered(answer)
