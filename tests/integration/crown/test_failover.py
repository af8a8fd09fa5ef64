"""Providers that are out, slow to say so, or ask to be left alone: what the engine makes of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from crown.circuit import Limits
from crown.clock import now
from crown.http import Answer
from crown.notification.v1.types_pb2 import Channel
from crown.outcome import Delivered, Outcome, Retry, Unknown
from crown.provider import Attempt
from crown.rates import Rates
from crown.store import Document
from services.email.sendgrid import provider as sendgrid
from tests.integration.crown.scripted import Scripted, delivering
from tests.integration.local import Local
from tests.integration.rig import until

pytestmark = pytest.mark.usefixtures("quick")

ADDRESS = {"email": "ann@example.org", "phone": "+14155550123"}
# A minute in a second and a half.
HASTY = Limits(window_s=2, calls_least=5, open_s=0.5, open_most_s=1, step_s=0.1)


@pytest.fixture(scope="module")
async def dispatching(local: Local) -> AsyncIterator[None]:
    """A dispatcher works all the time."""
    async with local.dispatching():
        yield


@pytest.fixture
def busy(dispatching: None, local: Local) -> Local:
    """Everything, while a dispatcher works."""
    return local


class Sick:
    """A provider for all engines, who is ill as long as the test says so. Notes when it was called, and by whom."""

    def __init__(self, name: str, outcome: Outcome | None) -> None:
        self.name = name
        self.outcome = outcome
        self.calls: list[tuple[float, str]] = []

    def ward(self, process: str) -> Scripted:
        """It as one process sees it."""
        seen = Scripted(self.name)

        async def send(attempt: Attempt) -> Outcome:
            self.calls.append((time.monotonic(), process))
            await asyncio.sleep(0.01)
            return self.outcome or Delivered("m")

        seen.send = send  # type: ignore[method-assign]
        return seen


async def sent(local: Local, channel: str, count: int) -> list[str]:
    """So many notifications, accepted."""
    return list(await asyncio.gather(*(local.send(type=channel, address=ADDRESS) for _ in range(count))))


async def ended(local: Local, channel: str, found: list[str], within_s: float = 30.0) -> Counter[str]:
    """Their states when all are final, and how many attempts the longest took."""
    where = {"notification_id": {"$in": found}, "open": []}
    await until(lambda: local.db.ledger.count_documents(where), lambda count: count == len(found), within_s)
    return Counter([(await local.state(one, channel))[0] for one in found])


async def most(local: Local, channel: str, found: list[str], field: str) -> int:
    rows = local.db.ledger.find({"notification_id": {"$in": found}})
    return max([int(row["deliveries"][channel].get(field, 0)) async for row in rows])


async def test_an_outage_costs_next_to_nothing(busy: Local) -> None:
    """Three processes, one provider that is out: one probe each an interval, and no attempt burnt."""
    provider = Sick("sendgrid", Retry("503"))
    async with AsyncExitStack() as stack:
        for process in ("one", "two", "three"):
            ward = provider.ward(process)
            await stack.enter_async_context(delivering(busy, Channel.EMAIL, ward, in_flight=16, limits=HASTY))
        found = await sent(busy, "EMAIL", 300)
        await asyncio.sleep(2.0)
        out, provider.outcome = time.monotonic(), None
        assert await ended(busy, "email", found) == {"DELIVERED_TO_PROVIDER": 300}
    calls = Counter(process for moment, process in provider.calls if moment < out)
    # What was under way when it was found out, and a probe each half second, less a quarter, or more.
    assert all(count <= 16 + 2.0 / 0.375 for count in calls.values()), calls
    for process in calls:
        moments = [moment for moment, who in provider.calls if who == process and moment < out]
        probes = moments[16:]
        assert all(later - earlier > 0.3 for earlier, later in pairwise(probes))
    assert len(provider.calls) <= 1.5 * len(found)
    assert await most(busy, "email", found, "attempts") <= 4


async def test_where_one_hangs_the_other_delivers(busy: Local) -> None:
    hanging, well = Scripted("hanging"), Scripted("well")

    async def hang(attempt: Attempt) -> Outcome:
        await asyncio.Event().wait()
        return Unknown(attempt.delivery_id)

    hanging.send = hang  # type: ignore[method-assign]
    began = time.monotonic()
    providers = (hanging, well)
    async with delivering(
        busy, Channel.EMAIL, *providers, in_flight=16, limits=HASTY, timeout_s=0.1, shares={"hanging": 1}
    ):
        found = await sent(busy, "EMAIL", 60)
        assert await ended(busy, "email", found) == {"DELIVERED_TO_PROVIDER": 60}
    assert len(well.sent) == 60
    assert time.monotonic() - began < 15
    assert await most(busy, "email", found, "attempts") <= 3


@pytest.mark.parametrize(
    ("header", "least_s", "most_s"),
    [
        # To the millisecond, by two clocks that are read one after the other.
        ("1", 0.99, 1.1),
        (lambda: format_datetime(now() + timedelta(seconds=2), usegmt=True), 0.5, 2.1),
        ("86400", 3_600, 3_600.2),
        ("99999999999999999999", 0.03, 1),
        (None, 0.03, 1),
        ("0", 0.03, 1),
        ("-5", 0.03, 1),
        ("abc", 0.03, 1),
    ],
    ids=["seconds", "a date", "a day", "huge", "none", "zero", "negative", "garbage"],
)
async def test_a_wish_to_wait_is_heard(
    busy: Local, header: str | Callable[[], str] | None, least_s: float, most_s: float
) -> None:
    """Not less than our own back-off, not more than an hour, and no attempt inside the window; it costs none."""
    text = header() if callable(header) else header
    answer = Answer(429, {} if text is None else {"Retry-After": text}, b"")
    person, provider = busy.somebody(), Scripted("sendgrid")
    provider.steps[person] = [sendgrid.outcome(answer, now())]
    async with delivering(busy, Channel.EMAIL, provider):
        notification_id = await busy.send(type="EMAIL", address=ADDRESS, user_id=person)
        await until(lambda: _first(busy, notification_id), lambda row: row.get("due_time"))
        row = await _first(busy, notification_id)
        # The two are written one after the other.
        assert least_s - 0.1 <= (row["due_time"] - row["update_time"]).total_seconds() <= most_s
        if most_s > 60:
            other = await busy.send(type="EMAIL", address=ADDRESS)
            await asyncio.sleep(0.3)
            # Nobody else is sent there, either, and no attempt is burnt on it.
            assert await busy.state(other, "email") == ("PENDING", "")
            assert len(provider.sent) == 1
            await busy.db.ledger.delete_many({"notification_id": {"$in": [notification_id, other]}})
            return
        await busy.becomes(notification_id, "email", "DELIVERED_TO_PROVIDER")
        row = await _first(busy, notification_id)
    assert (row["attempts"], row["claims"], len(provider.sent_to(person))) == (1, 2, 2)


async def _first(local: Local, notification_id: str) -> Document:
    rows = await local.rows(notification_id)
    found: Document = rows[0]["deliveries"]["email"] if rows else {}
    return found


async def test_a_rate_holds_over_processes_and_burns_nothing(busy: Local) -> None:
    provider = Sick("twilio", None)
    await busy.rig.redis.flushall()
    async with AsyncExitStack() as stack:
        for process in ("one", "two"):
            rates = Rates("sms", {"twilio": 40.0}, busy.rig.redis)
            ward = provider.ward(process)
            await stack.enter_async_context(delivering(busy, Channel.SMS, ward, in_flight=32, rates=rates))
        found = await sent(busy, "SMS", 80)
        assert await ended(busy, "sms", found) == {"DELIVERED_TO_PROVIDER": 80}
    moments = sorted(moment for moment, _ in provider.calls)
    assert len(moments) == 80
    busiest = max(sum(begin <= one < begin + 1 for one in moments) for begin in moments)
    # Forty, what a quarter of a second allows at once, and what came late of the second before.
    assert busiest <= 40 + 10 + 8
    assert moments[-1] - moments[0] >= (80 - 10) / 40 * 0.9
    assert (await most(busy, "sms", found, "claims"), await most(busy, "sms", found, "attempts")) == (1, 1)
