"""The right to make a call as long as a claim holds. Whoever writes to a provider looks once more right before the
bytes go: a process may be stopped at any line, and wake when another one has long taken its work over."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from crown.outcome import Snooze

# What a provider says where the claim was too old for its call: nothing was sent, and nobody is to blame.
OVER = Snooze("LEASE_OVER", alone=True)


class LeaseOver(Exception):
    """It is too late to write: others may take the claim for abandoned."""


# Of the call under way, and of the tasks that it begins. What is called without a claim has no end.
_end: ContextVar[float] = ContextVar("lease_end", default=math.inf)


def clock() -> float:
    """Seconds that go on while the process is stopped, and while its machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextmanager
def until(end: float) -> Iterator[None]:
    """What is called in the block may be written until `end`, in seconds of `clock`."""
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def last_look() -> None:
    """Call it right before the write after which the provider may act, without an await in between: uvloop hands what
    is written to the kernel in the write itself, so that a process that is stopped has one call at most between look
    and kernel. Raises LeaseOver where it is too late."""
    if clock() > _end.get():
        raise LeaseOver
