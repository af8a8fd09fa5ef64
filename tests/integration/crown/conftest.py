"""What the tests of the engine have in common: time passes quickly for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from crown import backoff, delivery, route, subjects
from crown.subjects import Consumer


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Short waits: before a retry, for a worker that is gone, and for a message that nobody settles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backoff, "FIRST_S", 0.05)
        patch.setattr(delivery, "LEASE_S", 2.0)
        patch.setattr(delivery, "_EXTEND_S", 0.5)
        patch.setattr(route, "_HOLD_LEAST_S", 0.1)
        patch.setattr(delivery, "_STORE_PAUSE_S", 0.2)
        for name in ("worker", "retrier"):
            patch.setattr(subjects, name, _impatient(getattr(subjects, name)))
        yield


def _impatient(real: object) -> object:
    def consumer(channel: str, lane: str) -> Consumer:
        assert callable(real)
        found: Consumer = real(channel, lane)
        return replace(found, ack_wait_s=2)

    return consumer
