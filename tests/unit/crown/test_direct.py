"""Direct sends: the same key sends once, whatever happens in between."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, DuplicateKeyError

from crown.auth import Principal, set_caller
from crown.clock import now
from crown.direct import DirectSend
from crown.errors import CrownError, InProgress, OutcomeUnknown, ProviderUnavailable, Refused
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.recipients import Destination

TO = Destination("email", "ann@example.org")
DATA = NotificationData(title="Hello")


class Rows:
    """The collection `direct`, in memory; `away` names the calls that fail."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.away: set[str] = set()

    def _reach(self, call: str) -> None:
        if call in self.away:
            raise AutoReconnect("away")

    async def insert_one(self, row: dict[str, Any]) -> None:
        self._reach("insert_one")
        if row["_id"] in self.rows:
            raise DuplicateKeyError("there")
        self.rows[row["_id"]] = dict(row)

    async def find_one(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        return self.rows.get(wanted["_id"])

    async def update_one(self, wanted: dict[str, Any], change: dict[str, Any]) -> None:
        self._reach("update_one")
        self.rows[wanted["_id"]].update(change["$set"])

    async def delete_one(self, wanted: dict[str, Any]) -> None:
        self._reach("delete_one")
        self.rows.pop(wanted["_id"], None)


class Stub:
    """A provider that does what the test says, one outcome a call."""

    name = "stub"

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.attempts: list[Attempt] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, attempt: Attempt) -> Outcome:
        self.attempts.append(attempt)
        await self.gate.wait()
        return self.outcomes.pop(0)

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        return None

    async def close(self) -> None:
        pass


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def direct(rows: Rows, stub: Stub, clock: Clock) -> DirectSend:
    class Db:
        direct = rows

    set_caller(Principal("service", "feed", frozenset(), 0.0))
    return DirectSend(Db(), Channel.EMAIL, stub, clock)  # type: ignore[arg-type]


async def test_a_receipt(direct: DirectSend, stub: Stub) -> None:
    stub.outcomes = [Delivered("m1")]
    receipt = await direct.send(TO, DATA, "")
    assert receipt.state == DeliveryState.DELIVERED_TO_PROVIDER
    assert (receipt.provider, receipt.provider_message_id) == ("stub", "m1")
    (attempt,) = stub.attempts
    assert attempt.destinations == (TO,)
    assert attempt.delivery_id == attempt.notification_id == receipt.delivery_id


async def test_the_same_key_sends_once(direct: DirectSend, stub: Stub) -> None:
    stub.outcomes = [Delivered("m1")]
    first = await direct.send(TO, DATA, "k")
    assert await direct.send(TO, DATA, "k") == first
    assert len(stub.attempts) == 1


async def test_without_a_key_every_call_sends(direct: DirectSend, stub: Stub) -> None:
    stub.outcomes = [Delivered("m1"), Delivered("m2")]
    first, second = await direct.send(TO, DATA, ""), await direct.send(TO, DATA, "")
    assert first.delivery_id != second.delivery_id


async def test_the_same_key_of_another_service_is_another(direct: DirectSend, stub: Stub) -> None:
    stub.outcomes = [Delivered("m1"), Delivered("m2")]
    first = await direct.send(TO, DATA, "k")
    set_caller(Principal("service", "media", frozenset(), 0.0))
    assert (await direct.send(TO, DATA, "k")).delivery_id != first.delivery_id


@pytest.mark.parametrize("outcome", [Retry("503", 7.0), Snooze("429", 7.0)])
async def test_what_was_not_sent_may_be_sent_again(direct: DirectSend, stub: Stub, outcome: Outcome) -> None:
    stub.outcomes = [outcome, Delivered("m1")]
    with pytest.raises(ProviderUnavailable) as error:
        await direct.send(TO, DATA, "k")
    assert error.value.retry_after_s == 7.0
    assert error.value.metadata["provider"] == "stub"
    assert (await direct.send(TO, DATA, "k")).provider_message_id == "m1"


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(Discard("INVALID_NUMBER", "21211"), Refused), (Unknown("TIMEOUT"), OutcomeUnknown)],
)
async def test_what_may_not_be_repeated(
    direct: DirectSend, stub: Stub, clock: Clock, outcome: Outcome, error: type[CrownError]
) -> None:
    stub.outcomes = [outcome]
    for ahead in (timedelta(), timedelta(0), timedelta(days=30)):
        clock.ahead = ahead
        with pytest.raises(error) as raised:
            await direct.send(TO, DATA, "k")
        assert raised.value.metadata["code"] in {"21211", "TIMEOUT"}
    assert len(stub.attempts) == 1


async def test_two_at_once(direct: DirectSend, stub: Stub) -> None:
    stub.outcomes = [Delivered("m1")]
    stub.gate.clear()
    first = asyncio.create_task(direct.send(TO, DATA, "k"))
    await asyncio.sleep(0)
    with pytest.raises(InProgress):
        await direct.send(TO, DATA, "k")
    stub.gate.set()
    assert (await first).provider_message_id == "m1"
    assert len(stub.attempts) == 1


async def test_a_caller_who_leaves_finds_the_receipt_later(direct: DirectSend, stub: Stub) -> None:
    stub.outcomes = [Delivered("m1")]
    stub.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await direct.send(TO, DATA, "k")
    stub.gate.set()
    await direct.drain()
    assert (await direct.send(TO, DATA, "k")).provider_message_id == "m1"


async def test_a_process_that_died_in_between(
    direct: DirectSend, stub: Stub, rows: Rows, clock: Clock
) -> None:
    stub.outcomes = [Delivered("m1")]
    receipt = await direct.send(TO, DATA, "k")
    rows.rows[receipt.delivery_id] = {"_id": receipt.delivery_id, "time": now()}
    with pytest.raises(InProgress):
        await direct.send(TO, DATA, "k")
    clock.ahead = timedelta(minutes=1)
    with pytest.raises(OutcomeUnknown):
        await direct.send(TO, DATA, "k")
    assert len(stub.attempts) == 1


async def test_without_the_store_nothing_is_sent(direct: DirectSend, stub: Stub, rows: Rows) -> None:
    rows.away = {"insert_one"}
    with pytest.raises(AutoReconnect):
        await direct.send(TO, DATA, "k")
    assert stub.attempts == []


async def test_a_receipt_that_cannot_be_kept_is_still_told(
    direct: DirectSend, stub: Stub, rows: Rows, clock: Clock
) -> None:
    rows.away = {"update_one"}
    stub.outcomes = [Delivered("m1")]
    assert (await direct.send(TO, DATA, "k")).provider_message_id == "m1"
    clock.ahead = timedelta(minutes=1)
    with pytest.raises(OutcomeUnknown):
        await direct.send(TO, DATA, "k")
    assert len(stub.attempts) == 1


async def test_a_claim_that_cannot_be_released(direct: DirectSend, stub: Stub, rows: Rows) -> None:
    rows.away = {"delete_one"}
    stub.outcomes = [Retry("503")]
    with pytest.raises(ProviderUnavailable):
        await direct.send(TO, DATA, "k")
    with pytest.raises(InProgress):
        await direct.send(TO, DATA, "k")
