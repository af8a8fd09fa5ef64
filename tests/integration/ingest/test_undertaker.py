"""The undertaker: every letter reaches the store, once, whatever it says and whatever is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crown import subjects
from crown.bus import Outgoing
from crown.clock import now, timestamp
from crown.ledger import row_id
from crown.notification.v1.events_pb2 import DeadLetter, DeliveryEvent
from crown.notification.v1.types_pb2 import Category, Channel, DeadLetterState, DeliveryState
from crown.store import Document
from services.ingest.books import janitor
from services.ingest.books.janitor import Janitor
from services.ingest.dead import undertaker
from services.ingest.dead.undertaker import Undertaker, write
from tests.integration.ingest.graves import PHONE, Graveyard, digging
from tests.integration.local import Local
from tests.integration.rig import Rig, until

AT = datetime(2026, 11, 20, 10, 0, 0, 123_000, tzinfo=UTC)


@pytest.fixture(scope="module")
async def yard(local: Local) -> AsyncIterator[Graveyard]:
    async with digging(local) as made:
        yield made


def letter(delivery_id: str, **given: Any) -> bytes:
    """The letter of a delivery that the ledger does not know."""
    event = DeliveryEvent(delivery_id=delivery_id, notification_id="n", user_id="u", channel=Channel.SMS)
    fields: dict[str, Any] = {"reason": "PROVIDER_TERMINAL", "error": "E", "claims": 1, **given}
    return DeadLetter(delivery=event, create_time=timestamp(AT), **fields).SerializeToString()


async def put(local: Local, *letters: bytes, name: str = "sms") -> None:
    for one in letters:
        await local.bus.publish(Outgoing(subjects.dead(name), one))


async def settled(local: Local) -> None:
    """Returns when the last letter that is on the stream now has been acked."""
    last = (await local.bus.api("STREAM.INFO.DEAD"))["state"]["last_seq"]

    async def acked() -> int:
        info = await local.bus.api("CONSUMER.INFO.DEAD.undertaker")
        return int(info["ack_floor"]["stream_seq"])

    await until(acked, lambda sequence: sequence >= last, 30)


async def buried(local: Local, **where: Any) -> list[Document]:
    return [row async for row in local.db.dead_letters.find(where).sort("_id", 1)]


async def test_a_letter_says_all_that_is_known(yard: Graveyard) -> None:
    notification_id = await yard.local.send(
        type="SMS", address={"phone": PHONE}, kind="login_alert", category="SECURITY", user_id="ann"
    )
    (found,) = await yard.letters(1, notification_id=notification_id)
    (row,) = await yard.local.rows(notification_id)
    delivery_id = row["deliveries"]["sms"]["id"]
    assert found["_id"] == f"{delivery_id}:1"
    assert (found["state"], found["channel"]) == (DeadLetterState.OPEN, Channel.SMS)
    assert (found["delivery_id"], found["user_id"], found["sender"]) == (delivery_id, "ann", "feed")
    assert (found["kind"], found["category"]) == ("login_alert", Category.SECURITY)
    assert (found["reason"], found["error"]) == ("PROVIDER_TERMINAL", "INVALID_NUMBER: 21211")
    assert (found["provider"], found["attempts"], found["claims"]) == ("carrier", 1, 1)
    assert now() - timedelta(minutes=1) < found["create_time"] <= now()
    # Neither content nor address came along.
    assert PHONE not in str(found)
    assert "body" not in found


async def test_the_same_letter_again_is_one(yard: Graveyard) -> None:
    local = yard.local
    await put(local, letter("d1"), letter("d1"), letter("d1", claims=2), letter("d1"))
    await settled(local)
    await put(local, letter("d1"))
    await settled(local)
    assert [row["_id"] for row in await buried(local, delivery_id="d1")] == ["d1:1", "d1:2"]


async def test_a_letter_of_an_older_version_takes_its_number_from_the_ledger(yard: Graveyard) -> None:
    local = yard.local
    delivery = {"id": "old", "state": DeliveryState.FAILED, "claims": 7, "provider": "twilio"}
    await local.db.ledger.insert_one(
        {"_id": row_id("n", "u"), "kind": "like", "category": 1, "deliveries": {"sms": delivery}}
    )
    await put(local, letter("old", claims=0))
    await settled(local)
    (found,) = await buried(local, delivery_id="old")
    assert (found["_id"], found["provider"]) == ("old:7", "twilio")
    await local.db.ledger.delete_one({"_id": row_id("n", "u")})


async def test_what_dispatch_cannot_read_is_kept_whole(yard: Graveyard) -> None:
    local = yard.local
    raw = b"\xff\x00 no notification " * 100
    await local.bus.publish(Outgoing(subjects.intake("normal"), raw))
    (found,) = await yard.letters(1, body=raw)
    assert found["_id"] == f"INTAKE_normal:{found['sequence']}"
    assert (found["reason"], found["stream"]) == ("UNDECODABLE", "INTAKE_normal")
    assert (found["channel"], found["delivery_id"]) == (Channel.CHANNEL_UNSPECIFIED, "")


async def test_what_could_be_read_of_it_is_told(yard: Graveyard) -> None:
    accepted = yard.local.accepted(type="SMS", kind="like", user_id="ann")
    body = accepted.parts[0]
    failed = DeadLetter(
        reason="RETRIES_EXHAUSTED", error="KeyError", body=body, stream="INTAKE_normal", sequence=900_000
    )
    await put(yard.local, failed.SerializeToString(), name="dispatch")
    (found,) = await yard.letters(1, _id="INTAKE_normal:900000")
    assert (found["notification_id"], found["user_id"]) == (accepted.notification_id, "ann")
    assert (found["kind"], found["sender"], found["body"]) == ("like", "feed", body)


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xfe no letter",
        b"",
        letter("d ü"),
        letter("x" * 300),
        letter("huge", sequence=2**64 - 1),
        DeadLetter(reason="UNDECODABLE", body=b"from nowhere").SerializeToString(),
    ],
    ids=["bytes", "nothing", "odd id", "long id", "a number that the store has not", "from nowhere"],
)
async def test_junk_on_the_stream_is_kept_and_stops_nothing(yard: Graveyard, junk: bytes) -> None:
    local = yard.local
    await local.db.dead_letters.delete_many({"delivery_id": "behind"})
    await put(local, junk, letter("behind"))
    await settled(local)
    (found,) = await buried(local, body=junk)
    assert found["_id"] == f"DEAD:{found['sequence']}"
    assert found["reason"] == "UNDECODABLE"
    assert len(await buried(local, delivery_id="behind")) == 1


async def test_what_the_provider_settled_meanwhile_is_settled(yard: Graveyard) -> None:
    local = yard.local
    delivery = {"id": "late", "state": DeliveryState.DELIVERED, "claims": 1}
    await local.db.ledger.insert_one(
        {"_id": row_id("n", "u"), "kind": "", "category": 1, "deliveries": {"sms": delivery}}
    )
    await put(local, letter("late"))
    await settled(local)
    (found,) = await buried(local, delivery_id="late")
    assert found["state"] == DeadLetterState.RECONCILED
    await local.db.ledger.delete_one({"_id": row_id("n", "u")})


async def test_given_up_once_more_without_an_attempt_it_is_open_again(yard: Graveyard) -> None:
    """What grows too old again has had no attempt in between."""
    local = yard.local
    old = {"reason": "RETRIES_EXHAUSTED", "claims": 2}
    await put(local, letter("old-age", **old))
    await settled(local)
    replayed = {"state": DeadLetterState.REPLAYED, "update_time": AT + timedelta(minutes=5), "update_by": "o"}
    await local.db.dead_letters.update_one({"_id": "old-age:2"}, {"$set": replayed})
    # A copy of the first giving up is old news.
    await put(local, letter("old-age", **old))
    await settled(local)
    assert [row["state"] for row in await buried(local, delivery_id="old-age")] == [DeadLetterState.REPLAYED]
    again = DeadLetter.FromString(letter("old-age", **old))
    again.create_time.FromDatetime(AT + timedelta(minutes=9))
    await put(local, again.SerializeToString())
    await settled(local)
    (found,) = await buried(local, delivery_id="old-age")
    assert (found["state"], found["create_time"]) == (DeadLetterState.OPEN, AT + timedelta(minutes=9))
    assert "update_by" not in found


async def test_a_stream_that_counts_from_one_again_buries_nothing_under_another(local: Local) -> None:
    def document(body: bytes) -> Document:
        return {"_id": "INTAKE_bulk:1", "delivery_id": "", "body": body, "create_time": AT}

    await write(local.db, [document(b"one")])
    await write(local.db, [document(b"two"), document(b"one"), document(b"two")])
    found = await buried(local, _id={"$regex": "^INTAKE_bulk:1"})
    assert [row["body"] for row in found] == [b"one", b"two"]


async def test_what_the_store_has_leaves_the_bus(yard: Graveyard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor, "_PERIOD_S", 0.1)
    local = yard.local
    await put(local, letter("purged"))
    async with local.working(Janitor(local.bus).run):
        await until(lambda: local.messages("DEAD"), lambda left: left == 0)
    assert len(await buried(local, delivery_id="purged")) == 1


# -- last, as everybody else has to find their connections again


async def test_a_store_that_is_away_loses_no_letter(
    rig: Rig, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undertaker, "_PAUSE_S", 0.2)
    monkeypatch.setattr(janitor, "_PERIOD_S", 0.1)
    async with local.working(Undertaker(local.bus, local.store).run, Janitor(local.bus).run):
        await put(local, *(letter(f"early-{n}") for n in range(20)))
        async with rig.suspended("mongod"):
            await put(local, *(letter(f"held-{n}") for n in range(20)))
            await asyncio.sleep(0.5)
            assert await local.messages("DEAD") >= 20
        await rig.killed("mongod")
        await put(local, *(letter(f"late-{n}") for n in range(20)))
        await settled(local)
    found = await buried(local, delivery_id={"$regex": "^(early|held|late)-"})
    assert len(found) == 60
