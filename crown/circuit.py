"""A circuit breaker for one provider of a channel. Pure: the time is passed in, and nothing here waits. (The one for
Redis, which is simply away or not, is crown/breaker.py.)

    closed ── too many failures, or too many slow calls ──▶ open
      ▲                                                     │ after 5 s, then 10, 20, 40, 60
      └─ its share grows: 10 %, 25 %, 50 %, all ◀── yes ── one probe ── no ──▶ open

Each process has its own, and one probe at a time: n processes ask a provider that is out n times an interval."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How a provider stands. The values are those of the metric."""

    CLOSED = 0
    PROBING = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """When a provider counts as out, and how it comes back."""

    # What is looked at, in seconds, and how many calls there must be in it before anything is concluded.
    window_s: float = 10.0
    calls_least: int = 10
    # The part of the calls that may fail.
    failing_most: float = 0.5
    # A call that took longer is slow, whatever it answered; infinity where slowness does not count.
    slow_s: float = 5.0
    slow_most: float = 0.8
    # Seconds before it is probed; doubles with each probe that fails.
    open_s: float = 5.0
    open_most_s: float = 60.0
    # The parts of its share that it gets when it is back, each for so many seconds; then all.
    steps: tuple[float, ...] = (0.1, 0.25, 0.5)
    step_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call under way, to be ended by exactly one of the circuit's `succeeded`, `failed` and `forget`."""

    began: float
    probe: bool
    # Calls of before an opening say nothing about the time after it.
    generation: int


@dataclass(slots=True)
class _Second:
    """The calls that ended in one second, or in several."""

    number: int
    calls: int = 0
    failed: int = 0
    slow: int = 0


class Circuit:
    """What is known about one provider. All times are seconds of one monotonic clock."""

    def __init__(self, limits: Limits | None = None, chance: random.Random | None = None) -> None:
        self._limits = limits or Limits()
        self._chance = chance or random.Random()
        self._generation = 0
        # What the last seconds gave, the oldest first, and their sum.
        self._window: deque[_Second] = deque()
        self._sum = _Second(0)
        self._open_until: float | None = None
        self._open_s = self._limits.open_s
        self._probing = False
        self._back_since: float | None = None
        self._held_until = 0.0

    def state(self) -> State:
        """Where it stands; a provider that asked to be left alone is closed all the same."""
        if self._open_until is None:
            return State.CLOSED
        return State.PROBING if self._probing else State.OPEN

    def share(self, now: float) -> float:
        """The part of its usual share that it may get, from 0 to 1. While it is out that is 0, and `begin` lets
        nothing but a probe through."""
        if self._open_until is not None or now < self._held_until:
            return 0.0
        if self._back_since is None:
            return 1.0
        step = int((now - self._back_since) / self._limits.step_s)
        return self._limits.steps[step] if step < len(self._limits.steps) else 1.0

    def wait_s(self, now: float) -> float:
        """Seconds until a call may begin; 0 where one may. Infinity while a probe is under way: its end tells."""
        if self._probing:
            return float("inf")
        return max(0.0, (self._open_until or 0.0) - now, self._held_until - now)

    def begin(self, now: float) -> Call | None:
        """Begins a call; None where none may begin now."""
        if self.wait_s(now) > 0:
            return None
        probe = self._probing = self._open_until is not None
        return Call(now, probe, self._generation)

    def succeeded(self, call: Call, now: float) -> None:
        """The provider answered, be it with a final no."""
        slow = now - call.began > self._limits.slow_s
        if call.probe and not slow:
            self._close(now)
        elif call.probe:
            self._open_again(now)
        elif call.generation == self._generation:
            self._note(now, failed=False, slow=slow)

    def failed(self, call: Call, now: float) -> None:
        """It did not, or said that it cannot."""
        if call.probe:
            self._open_again(now)
        elif call.generation == self._generation:
            self._note(now, failed=True, slow=False)

    def forget(self, call: Call) -> None:
        """Nothing was learnt: the call was not made, or broken off by us."""
        if call.probe:
            self._probing = False

    def hold(self, call: Call, now: float, wait_s: float) -> None:
        """The provider asked to be left alone for so long. It works, so this is no failure; but it comes back
        in steps, since all that waited would bring it to ask again."""
        if call.probe:
            self._close(now)
        if now + wait_s > self._held_until:
            self._held_until = self._back_since = now + wait_s

    # -- what follows

    def _note(self, now: float, *, failed: bool, slow: bool) -> None:
        if self._open_until is not None:
            return
        self._forget_old(now)
        if not self._window or self._window[-1].number != int(now):
            self._window.append(_Second(int(now)))
        for count in (self._window[-1], self._sum):
            count.calls += 1
            count.failed += failed
            count.slow += slow
        if self._too_bad():
            if self.share(now) == 1.0:
                self._open_s = self._limits.open_s
            self._open(now)

    def _forget_old(self, now: float) -> None:
        while self._window and self._window[0].number < now - self._limits.window_s:
            old = self._window.popleft()
            self._sum.calls -= old.calls
            self._sum.failed -= old.failed
            self._sum.slow -= old.slow

    def _too_bad(self) -> bool:
        limits, found = self._limits, self._sum
        if found.calls < limits.calls_least:
            return False
        return found.failed > found.calls * limits.failing_most or found.slow > found.calls * limits.slow_most

    def _open(self, now: float) -> None:
        self._generation += 1
        self._window.clear()
        self._sum = _Second(0)
        self._probing = False
        # A quarter more or less, so that many processes do not probe at once.
        self._open_until = now + self._open_s * self._chance.uniform(0.75, 1.25)

    def _open_again(self, now: float) -> None:
        self._open_s = min(2 * self._open_s, self._limits.open_most_s)
        self._open(now)

    def _close(self, now: float) -> None:
        self._probing = False
        self._open_until = None
        self._back_since = now
