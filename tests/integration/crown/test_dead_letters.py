"""Giving a delivery back that was given up, and settling its letter: each happens once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from crown.clock import now
from crown.dead_letters import reconcile
from crown.ledger import Ledger, row_id
from crown.notification.v1.types_pb2 import DeadLetterState, DeliveryState, Priority
from tests.integration.local import Local

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def row(local: Local, **given: Any) -> str:
    """A row whose delivery by SMS was given up after its third attempt."""
    key = row_id(local.somebody(), "u")
    sms = {"id": "d", "state": DeliveryState.FAILED, "reason": "E", "attempts": 3, "claims": 3, "unknowns": 1}
    delivery = {**sms, "update_time": LONG_AGO, "due_time": LONG_AGO, **given}
    await local.db.ledger.insert_one(
        {"_id": key, "lane": Priority.CRITICAL, "deliveries": {"sms": delivery}, "open": []}
    )
    return key


async def found(local: Local, key: str) -> dict[str, Any]:
    document = await local.db.ledger.find_one({"_id": key})
    assert document is not None
    return document


@pytest.mark.parametrize("state", [DeliveryState.FAILED, DeliveryState.UNKNOWN])
async def test_what_was_given_up_is_pending_again(local: Local, state: DeliveryState.Type.ValueType) -> None:
    key = await row(local, state=state)
    before = now()
    assert await Ledger(local.db).reopen(key, "sms")
    document = await found(local, key)
    sms = document["deliveries"]["sms"]
    assert (document["open"], document["lane"]) == (["sms"], Priority.CRITICAL)
    assert (sms["state"], sms["reason"], sms["due_time"]) == (DeliveryState.PENDING, "", None)
    # All attempts anew, and none of them with the number of one that was made.
    assert (sms["attempts"], sms["unknowns"], sms["claims"]) == (0, 0, 3)
    # The sweeper takes it for one that was published just now.
    assert sms["update_time"] >= before


async def test_of_many_callers_one_reopens_it(local: Local) -> None:
    key = await row(local)
    ledgers = [Ledger(local.db) for _ in range(8)]
    assert sum(await asyncio.gather(*(ledger.reopen(key, "sms", 3) for ledger in ledgers))) == 1
    assert (await found(local, key))["open"] == ["sms"]


async def test_who_was_first_with_each_of_many_is_told_apart(local: Local) -> None:
    """All of one round trip, of which some are somebody else's and one is asked for twice."""
    keys = [await row(local) for _ in range(6)]
    assert await Ledger(local.db).reopen(keys[4], "sms")
    ledger = Ledger(local.db)
    asked = [*keys, keys[0]]
    won = await asyncio.gather(*(ledger.reopen(key, "sms", 3) for key in asked))
    assert won[1:6] == [True, True, True, False, True]
    assert won[0] != won[6]


@pytest.mark.parametrize(
    "state",
    [
        state
        for state in DeliveryState.Type.values()
        if state not in {DeliveryState.FAILED, DeliveryState.UNKNOWN}
    ],
    ids=DeliveryState.Type.Name,
)
async def test_nothing_else_is_reopened(local: Local, state: DeliveryState.Type.ValueType) -> None:
    key = await row(local, state=state)
    before = await found(local, key)
    assert not await Ledger(local.db).reopen(key, "sms")
    assert await found(local, key) == before


@pytest.mark.parametrize(
    ("claims", "given_up_after", "reopened"), [(3, 3, True), (4, 3, False), (0, 0, True), (None, 0, True)]
)
async def test_only_the_giving_up_that_is_meant(
    local: Local, claims: int | None, given_up_after: int, reopened: bool
) -> None:
    key = await row(local, claims=claims)
    assert await Ledger(local.db).reopen(key, "sms", given_up_after) is reopened


async def test_it_moves_to_another_lane(local: Local) -> None:
    key = await row(local)
    assert await Ledger(local.db).reopen(key, "sms", lane=Priority.BULK)
    assert (await found(local, key))["lane"] == Priority.BULK


async def test_a_later_word_settles_open_letters_alone(local: Local) -> None:
    states = [state for state in DeadLetterState.Type.values() if state]
    for state in states:
        await local.db.dead_letters.insert_one({"_id": f"d1:{state}", "delivery_id": "d1", "state": state})
    await local.db.dead_letters.insert_one({"_id": "d2:1", "delivery_id": "d2", "state": states[0]})
    assert await reconcile(local.db, "d1") == 1
    assert await reconcile(local.db, "d1") == 0
    letters = {one["_id"]: one["state"] async for one in local.db.dead_letters.find()}
    assert letters == {
        "d1:1": DeadLetterState.RECONCILED,
        "d1:2": DeadLetterState.REPLAYED,
        "d1:3": DeadLetterState.DISCARDED,
        "d1:4": DeadLetterState.RECONCILED,
        "d2:1": DeadLetterState.OPEN,
    }
    (settled,) = [one async for one in local.db.dead_letters.find({"_id": "d1:1"})]
    assert settled["update_by"] == "provider"
