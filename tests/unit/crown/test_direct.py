"""Direct sends: the same key sends once, whatever happens in between."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, DuplicateKeyError

from crown.auth import Principal, set_caller
from crown.clock import now
from crown.direct import DirectSend
from crown.errors import CrownError, InProgress, OutcomeUnknown, ProviderUnavailable, Refused, Suppressed
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Channel, DeliveryState, SuppressionReason
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.recipients import Destination
from crown.route import Route

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

    def __init__(self, name: str = "stub") -> None:
        self.name = name
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


class NotSuppressed:
    """No address is suppressed, unless the test says so."""

    def __init__(self) -> None:
        self.found: dict[str, SuppressionReason.Type.ValueType] = {}

    async def among(self, _channel: int, addresses: list[str]) -> dict[str, Any]:
        return {
            address: SimpleNamespace(reason=self.found[address])
            for address in addresses
            if address in self.found
        }


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
def other() -> Stub:
    """Who stands in for the stub."""
    return Stub("other")


@pytest.fixture
def suppressed() -> NotSuppressed:
    return NotSuppressed()


@pytest.fixture
def route(stub: Stub, other: Stub) -> Route:
    return Route([stub, other])


@pytest.fixture
def direct(rows: Rows, route: Route, suppressed: NotSuppressed, clock: Clock) -> DirectSend:
    class Db:
        direct = rows

    set_caller(Principal("service", "feed", frozenset(), 0.0))
    return DirectSend(Db(), Channel.EMAIL, route, suppressed, clock)  # type: ignore[arg-type]


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


async def test_what_was_not_sent_may_be_sent_again(direct: DirectSend, stub: Stub, other: Stub) -> None:
    stub.outcomes = [Retry("503"), Delivered("m1")]
    other.outcomes = [Snooze("429", 7.0)]
    with pytest.raises(ProviderUnavailable) as error:
        await direct.send(TO, DATA, "k")
    assert error.value.retry_after_s == 7.0
    assert error.value.metadata == {"provider": "other", "code": "429"}
    assert (await direct.send(TO, DATA, "k")).provider_message_id == "m1"


@pytest.mark.parametrize("outcome", [Retry("503"), Snooze("429", 7.0)])
async def test_where_one_surely_did_not_take_it_the_next_one_is_tried(
    direct: DirectSend, stub: Stub, other: Stub, outcome: Outcome
) -> None:
    stub.outcomes, other.outcomes = [outcome], [Delivered("m2")]
    receipt = await direct.send(TO, DATA, "k")
    assert (receipt.provider, receipt.provider_message_id) == ("other", "m2")
    assert await direct.send(TO, DATA, "k") == receipt
    assert (len(stub.attempts), len(other.attempts)) == (1, 1)


async def test_who_is_out_is_not_even_tried(direct: DirectSend, stub: Stub, other: Stub) -> None:
    stub.outcomes, other.outcomes = [Retry("503")] * 10, [Delivered(f"m{n}") for n in range(12)]
    for number in range(12):
        await direct.send(TO, DATA, f"k{number}")
    assert len(stub.attempts) == 10


async def test_while_everybody_is_out_nothing_is_sent(direct: DirectSend, stub: Stub, other: Stub) -> None:
    stub.outcomes, other.outcomes = [Retry("503")] * 10, [Retry("503")] * 10
    for number in range(10):
        with pytest.raises(ProviderUnavailable, match="other refused for now"):
            await direct.send(TO, DATA, f"k{number}")
    with pytest.raises(ProviderUnavailable, match="every provider refused for now") as error:
        await direct.send(TO, DATA, "k")
    assert error.value.metadata["code"] == "PROVIDERS_OUT"
    assert 3 < (error.value.retry_after_s or 0) < 7
    assert (len(stub.attempts), len(other.attempts)) == (10, 10)


async def test_for_who_has_left_no_other_one_is_tried(direct: DirectSend, stub: Stub, other: Stub) -> None:
    stub.outcomes = [Retry("503")]
    stub.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await direct.send(TO, DATA, "k")
    stub.gate.set()
    await asyncio.gather(*direct._sending, return_exceptions=True)
    assert other.attempts == []


@pytest.mark.parametrize("reason", [SuppressionReason.BOUNCE, SuppressionReason.MANUAL])
async def test_a_suppressed_address_gets_nothing(
    direct: DirectSend,
    stub: Stub,
    suppressed: NotSuppressed,
    reason: SuppressionReason.Type.ValueType,
) -> None:
    stub.outcomes = [Delivered("m1")]
    suppressed.found = {TO.address: reason}
    with pytest.raises(Suppressed) as error:
        await direct.send(TO, DATA, "k")
    assert error.value.metadata == {"why": SuppressionReason.Type.Name(reason)}
    # Its key is free again: what ended the suppression must not be in vain.
    suppressed.found = {}
    receipt = await direct.send(TO, DATA, "k")
    # And what was sent before is still told.
    suppressed.found = {TO.address: reason}
    assert await direct.send(TO, DATA, "k") == receipt


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


async def test_a_claim_that_cannot_be_released(
    direct: DirectSend, stub: Stub, other: Stub, rows: Rows
) -> None:
    rows.away = {"delete_one"}
    stub.outcomes, other.outcomes = [Retry("503")], [Retry("503")]
    with pytest.raises(ProviderUnavailable):
        await direct.send(TO, DATA, "k")
    with pytest.raises(InProgress):
        await direct.send(TO, DATA, "k")
