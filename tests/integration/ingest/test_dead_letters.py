"""DeadLetterService on real servers: what is found, what is told, and that nothing is sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from crown import subjects
from crown.bus import Bus, Outgoing
from crown.clock import now, timestamp
from crown.dead_letters import reconcile
from crown.errors import BusUnavailable, InvalidRequest, NotFound, NotReplayable
from crown.notification.v1 import dead_letter_service_pb2 as pb
from crown.notification.v1.types_pb2 import (
    Category,
    Channel,
    DeadLetterState,
    DeliveryState,
    Priority,
    TimelineEvent,
)
from crown.store import Document
from services.ingest.dead import service as dead_letters
from tests.integration.ingest.graves import Graveyard, as_operator, digging
from tests.integration.local import Local
from tests.integration.rig import until

AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
REPLAYED = DeadLetterState.REPLAYED


@pytest.fixture(scope="module")
async def yard(local: Local) -> AsyncIterator[Graveyard]:
    async with digging(local) as made:
        yield made


@pytest.fixture(autouse=True)
def operator() -> None:
    as_operator("olga")


def document(letter_id: str, **given: Any) -> Document:
    """A letter as the undertaker writes it, of a delivery that is no more."""
    return {
        "_id": letter_id,
        "state": DeadLetterState.OPEN,
        "reason": "PROVIDER_TERMINAL",
        "error": "E",
        "channel": Channel.SMS,
        "notification_id": "n",
        "user_id": "u",
        "delivery_id": letter_id,
        "kind": "like",
        "category": Category.ACTIVITY,
        "sender": "feed",
        "provider": "twilio",
        "attempts": 1,
        "claims": 1,
        "create_time": AT,
        "stream": "DELIVERY_normal",
        "sequence": 1,
        **given,
    }


async def listed(
    yard: Graveyard, cursor: str = "", limit: int = 0, **where: Any
) -> pb.ListDeadLettersResponse:
    request = pb.ListDeadLettersRequest(filter=pb.DeadLetterFilter(**where), cursor=cursor)
    if limit:
        request.limit = limit
    return await yard.service.ListDeadLetters(request, None)


async def get(yard: Graveyard, letter_id: str) -> pb.GetDeadLetterResponse:
    return await yard.service.GetDeadLetter(pb.GetDeadLetterRequest(dead_letter_id=letter_id), None)


async def replay(yard: Graveyard, letter_id: str) -> pb.DeadLetterEntry:
    request = pb.ReplayDeadLetterRequest(dead_letter_id=letter_id)
    return (await yard.service.ReplayDeadLetter(request, None)).dead_letter


async def discard(yard: Graveyard, letter_id: str) -> pb.DeadLetterEntry:
    request = pb.DiscardDeadLetterRequest(dead_letter_id=letter_id)
    return (await yard.service.DiscardDeadLetter(request, None)).dead_letter


async def arrived(yard: Graveyard, letter: Document) -> None:
    """Returns when the ledger has it that the message arrived."""
    await yard.local.becomes(letter["notification_id"], "sms", "DELIVERED_TO_PROVIDER")


# -- finding


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ({"channel": Channel.EMAIL}, {"channel": Channel.EMAIL}),
        ({"state": DeadLetterState.DISCARDED}, {"state": DeadLetterState.DISCARDED}),
        ({"reason": "OUTCOME_UNKNOWN"}, {"reason": "OUTCOME_UNKNOWN"}),
        ({"provider": "sns"}, {"provider": "sns"}),
        ({"kind": "login_alert"}, {"kind": "login_alert"}),
        ({"category": Category.SECURITY}, {"category": Category.SECURITY}),
        ({"user_id": "ann"}, {"user_id": "ann"}),
        ({"notification_id": "m"}, {"notification_id": "m"}),
        ({"sender": "shop"}, {"sender": "shop"}),
        ({"create_time": AT + timedelta(hours=2)}, {"since": timestamp(AT + timedelta(hours=2))}),
        ({"create_time": AT - timedelta(hours=2)}, {"until": timestamp(AT)}),
    ],
    ids=lambda given: "-".join(given),
)
async def test_a_filter_finds_its_own(yard: Graveyard, stored: Document, asked: dict[str, Any]) -> None:
    letters = yard.local.db.dead_letters
    await letters.delete_many({})
    await letters.insert_many([document("wanted", **stored), *(document(f"other-{n}") for n in range(3))])
    found = await listed(yard, **asked)
    assert ([one.dead_letter_id for one in found.dead_letters], found.total) == (["wanted"], 1)
    usual = await listed(yard)
    # One that is not open is not listed unless somebody asks.
    assert usual.total == 3 if "state" in asked else 4


async def test_all_filters_together(yard: Graveyard) -> None:
    letters = yard.local.db.dead_letters
    await letters.delete_many({})
    await letters.insert_many([document("one"), document("two", sender="shop"), document("three", kind="")])
    where: dict[str, Any] = {
        "channel": Channel.SMS,
        "reason": "PROVIDER_TERMINAL",
        "provider": "twilio",
        "kind": "like",
    }
    who: dict[str, Any] = {
        "user_id": "u",
        "notification_id": "n",
        "sender": "feed",
        "category": Category.ACTIVITY,
    }
    span: dict[str, Any] = {"since": timestamp(AT), "until": timestamp(AT + timedelta(milliseconds=1))}
    assert [one.dead_letter_id for one in (await listed(yard, **where, **who, **span)).dead_letters] == [
        "one"
    ]


async def test_pages_stay_as_new_ones_come(yard: Graveyard) -> None:
    letters = yard.local.db.dead_letters
    await letters.delete_many({})
    # Three of each moment, so that a page ends among equals.
    before = [document(f"a-{n:02}", create_time=AT + timedelta(seconds=n // 3)) for n in range(30)]
    await letters.insert_many(before)
    found: list[str] = []
    cursor = ""
    while True:
        page = await listed(yard, cursor, limit=7)
        found.extend(one.dead_letter_id for one in page.dead_letters)
        later = [document(f"b-{len(found)}-{n}", create_time=AT + timedelta(hours=1)) for n in range(5)]
        await letters.insert_many(later)
        cursor = page.next_cursor
        if not cursor:
            break
    assert found == sorted((one["_id"] for one in before), reverse=True)
    assert (await listed(yard)).total == 30 + 5 * 5


async def test_the_total_ends_somewhere(yard: Graveyard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "COUNTED_MOST", 10)
    await yard.local.db.dead_letters.delete_many({})
    await yard.local.db.dead_letters.insert_many([document(f"x-{n}") for n in range(12)])
    assert (await listed(yard)).total == 10


@pytest.mark.parametrize("cursor", ["x", "AAAA", "bGV0dGVyIDE=", "bGV0dGVyIHggeQ=="])
async def test_a_made_up_cursor_is_refused(yard: Graveyard, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await listed(yard, cursor)
    assert [violation.field for violation in caught.value.violations] == ["cursor"]


# -- one of them


async def test_one_with_all_there_is_to_know(yard: Graveyard) -> None:
    letter = await yard.give_up(data={"title": "Your code", "message": "is 1234"}, kind="login_alert")

    async def attempts() -> list[Document]:
        return [row async for row in yard.local.db.timeline.find({"delivery_id": letter["delivery_id"]})]

    await until(attempts)
    with structlog.testing.capture_logs() as logs:
        found = await get(yard, letter["_id"])
    assert (found.dead_letter.dead_letter_id, found.dead_letter.kind) == (letter["_id"], "login_alert")
    assert (found.data.title, found.data.message) == ("Your code", "is 1234")
    (attempt,) = found.attempts
    assert (attempt.attempt, attempt.provider, attempt.state) == (1, "carrier", DeliveryState.FAILED)
    assert (attempt.reason, attempt.delivery_id) == ("INVALID_NUMBER: 21211", letter["delivery_id"])
    assert found.body == b""
    # Who read it is written down, and not what.
    assert [(one["operator"], one["dead_letter_id"]) for one in logs] == [("olga", letter["_id"])]
    assert "1234" not in str(logs)


@pytest.mark.parametrize("gone", ["people", "notifications", "ledger"])
async def test_what_was_erased_is_not_told(yard: Graveyard, gone: str) -> None:
    letter = await yard.give_up()
    await yard.local.db[gone].delete_many(
        {
            "people": {"_id": letter["user_id"]},
            "notifications": {"_id": letter["notification_id"]},
            "ledger": {"notification_id": letter["notification_id"]},
        }[gone]
    )
    found = await get(yard, letter["_id"])
    assert not found.HasField("data")
    assert found.dead_letter.reason == "PROVIDER_TERMINAL"


async def test_there_is_none(yard: Graveyard) -> None:
    for call in (get, replay, discard):
        with pytest.raises(NotFound):
            await call(yard, "nobody:1")


# -- replaying one


async def test_a_replay_is_delivered_with_all_its_attempts_anew(yard: Graveyard) -> None:
    letter = await yard.give_up()
    told = await replay(yard, letter["_id"])
    assert (told.state, told.update_by) == (REPLAYED, "olga")
    assert told.update_time.ToDatetime(UTC) >= now() - timedelta(minutes=1)
    await arrived(yard, letter)
    assert yard.arrivals(letter) == 1
    (row,) = await yard.local.rows(letter["notification_id"])
    assert (row["deliveries"]["sms"]["attempts"], row["deliveries"]["sms"]["claims"]) == (1, 2)
    (entry,) = [
        one
        async for one in yard.local.db.timeline.find(
            {"delivery_id": letter["delivery_id"], "event": TimelineEvent.REPLAYED}
        )
    ]
    assert entry["_id"] == f"{letter['delivery_id']}:replayed:1"
    assert (entry["notification_id"], entry["user_id"]) == (letter["notification_id"], letter["user_id"])
    assert (entry["channel"], entry["reason"]) == (Channel.SMS, "OPERATOR: olga")


async def test_replayed_again_it_stays_as_it_is(yard: Graveyard) -> None:
    letter = await yard.give_up()
    first = await replay(yard, letter["_id"])
    await arrived(yard, letter)
    as_operator("otto")
    assert await replay(yard, letter["_id"]) == first
    await asyncio.sleep(0.2)
    assert yard.arrivals(letter) == 1


async def test_of_many_operators_at_once_one_replays(yard: Graveyard) -> None:
    letter = await yard.give_up()
    bulk = await yard.local.messages(subjects.delivery_stream("normal"))
    told = await asyncio.gather(*(replay(yard, letter["_id"]) for _ in range(12)))
    assert {one.state for one in told} == {REPLAYED}
    assert len({one.update_time.ToNanoseconds() for one in told}) == 1
    await arrived(yard, letter)
    assert await yard.local.messages(subjects.delivery_stream("normal")) == bulk + 1
    assert yard.arrivals(letter) == 1


async def test_it_goes_on_its_own_lane(yard: Graveyard) -> None:
    letter = await yard.give_up(priority="CRITICAL")
    await replay(yard, letter["_id"])
    (_, event) = await yard.local.delivered("sms", letter["notification_id"], "critical")
    assert (event.delivery_id, event.priority) == (letter["delivery_id"], Priority.CRITICAL)


async def test_what_fails_again_is_a_letter_of_its_own(yard: Graveyard) -> None:
    letter = await yard.give_up()
    yard.carrier.refuses = True
    await replay(yard, letter["_id"])
    first, second = await yard.letters(2, delivery_id=letter["delivery_id"])
    assert (first["state"], second["state"]) == (REPLAYED, DeadLetterState.OPEN)
    assert second["_id"] == f"{letter['delivery_id']}:2"
    yard.carrier.refuses = False
    await replay(yard, second["_id"])
    await arrived(yard, letter)
    assert yard.arrivals(letter) == 1


async def test_a_crash_after_the_row_was_opened_is_made_good(yard: Graveyard) -> None:
    """Nothing was published, and the letter is still open."""
    letter = await yard.give_up()
    long_ago = now() - timedelta(seconds=30)
    pending = {"state": DeliveryState.PENDING, "update_time": long_ago}
    await yard.local.db.ledger.update_one(
        {"notification_id": letter["notification_id"]},
        {
            "$set": {f"deliveries.sms.{name}": value for name, value in pending.items()},
            "$push": {"open": "sms"},
        },
    )
    assert (await replay(yard, letter["_id"])).state == REPLAYED
    await arrived(yard, letter)
    assert yard.arrivals(letter) == 1


async def test_a_crash_after_it_was_sent_is_not_sent_again(yard: Graveyard) -> None:
    letter = await yard.give_up()
    await replay(yard, letter["_id"])
    await arrived(yard, letter)
    undone = {"$set": {"state": DeadLetterState.OPEN}}
    await yard.local.db.dead_letters.update_one({"_id": letter["_id"]}, undone)
    assert (await replay(yard, letter["_id"])).state == REPLAYED
    await asyncio.sleep(0.2)
    assert yard.arrivals(letter) == 1


# -- what is not replayed


async def refused(yard: Graveyard, letter: Document, why: str) -> None:
    with pytest.raises(NotReplayable, match=why):
        await replay(yard, letter["_id"])
    await asyncio.sleep(0.1)
    assert yard.arrivals(letter) == 0


async def test_what_was_discarded(yard: Graveyard) -> None:
    letter = await yard.give_up()
    told = await discard(yard, letter["_id"])
    assert (told.state, told.update_by) == (DeadLetterState.DISCARDED, "olga")
    assert await discard(yard, letter["_id"]) == told
    await refused(yard, letter, "discarded")
    (entry,) = [
        one async for one in yard.local.db.timeline.find({"_id": f"{letter['delivery_id']}:discarded:1"})
    ]
    assert (entry["event"], entry["reason"]) == (TimelineEvent.DISCARDED, "OPERATOR: olga")


async def test_what_the_provider_settled(yard: Graveyard) -> None:
    letter = await yard.give_up()
    await reconcile(yard.local.db, letter["delivery_id"])
    await refused(yard, letter, "settled")


async def test_what_the_provider_settled_and_the_letter_does_not_say(yard: Graveyard) -> None:
    letter = await yard.give_up()
    delivered = {"$set": {"deliveries.sms.state": DeliveryState.DELIVERED}}
    await yard.local.db.ledger.update_one({"notification_id": letter["notification_id"]}, delivered)
    await refused(yard, letter, "settled")
    assert (await yard.letter(letter["_id"]))["state"] == DeadLetterState.RECONCILED


async def test_what_has_expired(yard: Graveyard) -> None:
    letter = await yard.give_up()
    past = {"$set": {"expire_time": now() - timedelta(seconds=1)}}
    await yard.local.db.ledger.update_one({"notification_id": letter["notification_id"]}, past)
    await refused(yard, letter, "expired")
    assert (await yard.letter(letter["_id"]))["state"] == DeadLetterState.OPEN


@pytest.mark.parametrize("gone", ["people", "notifications", "ledger"])
async def test_what_was_erased(yard: Graveyard, gone: str) -> None:
    letter = await yard.give_up()
    keys = {"people": "user_id", "notifications": "notification_id"}
    where = {"_id": letter[keys[gone]]} if gone in keys else {"notification_id": letter["notification_id"]}
    await yard.local.db[gone].delete_many(where)
    await refused(yard, letter, "erased")


async def test_a_bus_that_is_away_leaves_it_open(yard: Graveyard, monkeypatch: pytest.MonkeyPatch) -> None:
    letter = await yard.give_up()

    async def away(self: Bus, messages: Any) -> None:
        raise BusUnavailable("the bus is away")

    with monkeypatch.context() as patch:
        patch.setattr(Bus, "publish_many", away)
        with pytest.raises(BusUnavailable):
            await replay(yard, letter["_id"])
    assert (await yard.letter(letter["_id"]))["state"] == DeadLetterState.OPEN
    # The row is open: a moment later nobody is at it any more.
    long_ago = {"$set": {"deliveries.sms.update_time": now() - timedelta(seconds=10)}}
    await yard.local.db.ledger.update_one({"notification_id": letter["notification_id"]}, long_ago)
    await replay(yard, letter["_id"])
    await arrived(yard, letter)
    assert yard.arrivals(letter) == 1


# -- what could not be read


async def test_a_message_goes_back_to_the_intake_that_it_came_from(yard: Graveyard) -> None:
    """What a bug of ours could not dispatch; the bug is gone now."""
    local = yard.local
    accepted = local.accepted(type="IN_APP")
    raw = accepted.parts[0]
    row = document(
        "INTAKE_bulk:77", delivery_id="", channel=Channel.CHANNEL_UNSPECIFIED, stream="INTAKE_bulk", body=raw
    )
    await local.db.dead_letters.insert_one(row)
    assert (await get(yard, row["_id"])).body == raw
    before = await local.messages("INTAKE_bulk")
    told = await asyncio.gather(*(replay(yard, row["_id"]) for _ in range(5)))
    assert {one.state for one in told} == {REPLAYED}
    await until(lambda: local.rows(accepted.notification_id))
    assert await local.messages("INTAKE_bulk") == before + 1
    assert len(await local.rows(accepted.notification_id)) == 1


async def test_what_nobody_can_read_is_a_letter_again(yard: Graveyard) -> None:
    raw = b"\xff nothing that anybody could read"
    await yard.local.bus.publish(Outgoing(subjects.intake("normal"), raw))
    (letter,) = await yard.letters(1, body=raw)
    await replay(yard, letter["_id"])
    first, second = await yard.letters(2, body=raw)
    assert {first["state"], second["state"]} == {REPLAYED, DeadLetterState.OPEN}


async def test_what_came_from_nowhere_stays(yard: Graveyard) -> None:
    row = document("DEAD:1", delivery_id="", stream="DEAD", body=b"x")
    await yard.local.db.dead_letters.insert_one(row)
    await refused(yard, row, "stream")
