"""Handing over: no more at once than there is room for, again where that can help, and never for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crown import metrics
from crown.errors import (
    BusUnavailable,
    CrownError,
    InProgress,
    IntakeFull,
    InvalidRequest,
    KeyReused,
    NotAllowed,
    OutcomeUnknown,
    TooLarge,
    Unauthenticated,
)
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from services.realtime.relay.outbox import Outbox

FEED = "outbox"


class AtOnce(random.Random):
    """Never a wait."""

    def uniform(self, a: float, b: float) -> float:
        """See Random."""
        return 0.0


class FakeIngest:
    """Answers as scripted, then yes. While `gate` is closed nobody is answered."""

    def __init__(self, *script: Exception) -> None:
        self.script = list(script)
        self.gate = asyncio.Event()
        self.gate.set()
        self.taken: list[str] = []
        self.asked: list[str] = []

    async def take(self, request: SendNotificationRequest) -> str:
        """See Taker."""
        self.asked.append(request.idempotency_key)
        await self.gate.wait()
        if self.script:
            raise self.script.pop(0)
        self.taken.append(request.idempotency_key)
        return "n1"


@asynccontextmanager
async def opened(ingest: FakeIngest, most: int = 10) -> AsyncIterator[Outbox]:
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        yield Outbox(FEED, ingest, most, tasks, AtOnce())


def counted(outcome: str) -> float:
    return float(metrics.RELAYED.labels(FEED, outcome)._value.get())


def request(key: str) -> SendNotificationRequest:
    return SendNotificationRequest(idempotency_key=key)


async def come_to_rest() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "error",
    [
        IntakeFull("full", retry_after_s=0.0),
        BusUnavailable("away", retry_after_s=0.0),
        OutcomeUnknown("who knows"),
        InProgress("busy"),
        Unauthenticated("expired"),
        NotAllowed("wrong scope"),
        CrownError("slower", reason="RATE_LIMITED"),
    ],
    ids=lambda error: error.reason,
)
async def test_what_may_work_later_is_tried_again_with_the_same_key(error: CrownError) -> None:
    accepted, retried = counted("accepted"), counted("retried")
    ingest = FakeIngest(error, error)
    async with opened(ingest) as outbox:
        await outbox.put(request("a"))
    assert (ingest.asked, ingest.taken) == (["a"] * 3, ["a"])
    assert (counted("accepted") - accepted, counted("retried") - retried) == (1, 2)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InvalidRequest("no"), "refused"),
        (TooLarge("big"), "refused"),
        (CrownError("internal error"), "refused"),
        (KeyReused("other words"), "repeated"),
        (RuntimeError("a bug"), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_final_no_ends_it_and_the_next_one_goes(error: Exception, outcome: str) -> None:
    before = counted(outcome)
    ingest = FakeIngest(error)
    async with opened(ingest) as outbox:
        await outbox.put(request("bad"))
        await come_to_rest()
        await outbox.put(request("good"))
    assert (ingest.asked, ingest.taken) == (["bad", "good"], ["good"])
    assert counted(outcome) - before == 1


async def test_a_refusal_tells_fields_and_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(FakeIngest(InvalidRequest("user_id: hush"))) as outbox:
        await outbox.put(request("bad"))
    said = capsys.readouterr().out
    assert "notification_refused" in said
    assert "INVALID_REQUEST" in said
    assert "hush" not in said


async def test_who_finds_no_room_waits() -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    async with opened(ingest, most=2) as outbox:
        await outbox.put(request("a"))
        await outbox.put(request("b"))
        third = asyncio.create_task(outbox.put(request("c")))
        await come_to_rest()
        assert not third.done()
        assert (len(outbox), ingest.asked) == (2, ["a", "b"])
        ingest.gate.set()
        await third
    assert sorted(ingest.taken) == ["a", "b", "c"]


async def test_draining_waits_for_what_is_on_its_way_but_not_for_ever() -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    async with opened(ingest) as outbox:
        assert await outbox.drain(5) == 0
        await outbox.put(request("a"))
        await come_to_rest()
        asyncio.get_running_loop().call_later(0.05, ingest.gate.set)
        assert await outbox.drain(5) == 0
        ingest.gate.clear()
        await outbox.put(request("b"))
        assert await outbox.drain(0.05) == 1
    assert ingest.taken == ["a"]
