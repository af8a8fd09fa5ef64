"""What providers tell later, from the bus into the ledger and the timeline."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from crown import ids, subjects
from crown.bus import Outgoing
from crown.clock import moment, now, timestamp
from crown.ledger import Change, Claim, Ledger, row_id
from crown.notification.v1.events_pb2 import CallbackEvent, DeliveryEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import (
    CallbackType,
    Channel,
    DeadLetterState,
    DeliveryState,
    Priority,
    TimelineEvent,
)
from crown.store import Document
from services.ingest.books import facts, turn
from services.ingest.books import recorder as record
from services.ingest.books.recorder import Recorder
from services.ingest.books.sweep import Sweeper
from tests.integration.local import Local
from tests.integration.rig import Rig, until


@dataclass
class Case:
    """One delivery that a provider has heard of."""

    local: Local
    channel: Channel.Type.ValueType
    notification_id: str
    user_id: str
    delivery_id: str
    told: int = field(default=0)

    @property
    def name(self) -> str:
        return subjects.NAMES[self.channel]

    async def tell(self, *words: str, **given: Any) -> CallbackEvent:
        """Callbacks of these types, one after another; the last one is answered."""
        for word in words:
            self.told += 1
            fields: dict[str, Any] = {
                "callback_id": ids.callback("test", self.delivery_id, str(self.told)),
                "delivery_id": self.delivery_id,
                "channel": self.channel,
                "provider": "twilio" if self.channel == Channel.SMS else "sendgrid",
                "type": word,
                "occur_time": timestamp(now()),
                "receive_time": timestamp(now()),
            }
            event = CallbackEvent(**{**fields, **given})
            await self.again(event)
        return event

    async def again(self, event: CallbackEvent) -> None:
        subject = subjects.callback(subjects.NAMES[event.channel])
        await self.local.bus.publish(Outgoing(subject, event.SerializeToString()))

    async def row(self) -> Document:
        (row,) = await self.local.rows(self.notification_id)
        return row

    async def delivery(self) -> Document:
        found: Document = (await self.row())["deliveries"][self.name]
        return found

    async def state(self) -> str:
        return DeliveryState.Type.Name((await self.delivery())["state"])

    async def entries(self) -> list[Document]:
        where = {"delivery_id": self.delivery_id}
        return [row async for row in self.local.db.timeline.find(where).sort([("time", 1), ("_id", 1)])]


async def case(
    local: Local, channel: str = "EMAIL", state: str = "DELIVERED_TO_PROVIDER", **given: Any
) -> Case:
    """A delivery in this state, after one attempt."""
    value, user_id = Channel.Type.Value(channel), local.somebody()
    notification_id = ids.fresh_notification()
    name = subjects.NAMES[value]
    made = Case(local, value, notification_id, user_id, ids.delivery(notification_id, user_id, name))
    standing = DeliveryState.Type.Value(state)
    row = row_id(notification_id, user_id)
    delivery = {"id": made.delivery_id, "state": standing, "reason": "", "attempts": 1, "claims": 1}
    document: Document = {
        "_id": row,
        "notification_id": notification_id,
        "user_id": user_id,
        "lane": Priority.NORMAL,
        "deliveries": {name: {**delivery, **given}},
        "open": [name] if state in {"PENDING", "RETRYING"} else [],
    }
    await local.db.ledger.insert_one(document)
    await Ledger(local.db).claim(Claim(made.delivery_id, 1, "worker", row))
    return made


async def recorded(local: Local) -> None:
    await until(lambda: local.backlog(subjects.recorder()), lambda left: left == 0)


async def test_in_any_order_and_twice(local: Local) -> None:
    email = await case(local)
    opened = datetime(2026, 11, 25, 9, tzinfo=UTC)
    async with local.working(Recorder(local.bus, local.store).run):
        first = await email.tell("OPENED", occur_time=timestamp(opened), reason="")
        await email.tell("ACCEPTED", "DELIVERED", "BOUNCED", "DEFERRED")
        await email.tell("CLICKED", occur_time=timestamp(opened + timedelta(seconds=30)))
        await email.again(first)
        await recorded(local)
    found = await email.delivery()
    assert (await email.state(), found["reason"]) == ("READ", "")
    assert (found["open_time"], found["click_time"]) == (opened, opened + timedelta(seconds=30))
    entries = await email.entries()
    assert [CallbackType.Type.Name(entry["callback"]) for entry in entries] == [
        "OPENED",
        "CLICKED",
        "ACCEPTED",
        "DELIVERED",
        "BOUNCED",
        "DEFERRED",
    ]
    assert {entry["event"] for entry in entries} == {TimelineEvent.CALLBACK}
    assert [entry["state"] for entry in entries] == [DeliveryState.READ, 0, 0, 0, 0, 0]
    assert {(entry["notification_id"], entry["user_id"]) for entry in entries} == {
        (email.notification_id, email.user_id)
    }


async def test_a_bounce_has_its_reason(local: Local) -> None:
    email = await case(local, provider="sendgrid")
    async with local.working(Recorder(local.bus, local.store).run):
        await email.tell("DELIVERED")
        await email.tell("BOUNCED", reason="bounce 5.1.1")
        await recorded(local)
    assert (await email.state(), (await email.delivery())["reason"]) == ("BOUNCED", "BOUNCED: bounce 5.1.1")


async def test_an_unknown_outcome_is_reconciled(local: Local) -> None:
    text = await case(local, "SMS", "UNKNOWN", reason="OUTCOME_UNKNOWN: TIMEOUT")
    letter = {"_id": f"{text.delivery_id}:1", "delivery_id": text.delivery_id, "state": DeadLetterState.OPEN}
    await local.db.dead_letters.insert_one(letter)
    async with local.working(Recorder(local.bus, local.store).run):
        await text.tell("DELIVERED")
        await recorded(local)
    assert (await text.state(), (await text.delivery())["reason"]) == ("DELIVERED", "")
    found = await local.db.dead_letters.find_one({"_id": letter["_id"]})
    assert found is not None
    assert found["state"] == DeadLetterState.RECONCILED


@pytest.mark.parametrize("state", ["PENDING", "RETRYING"])
async def test_what_arrived_is_settled_and_not_tried_again(local: Local, state: str) -> None:
    text = await case(local, "SMS", state, due_time=now() + timedelta(seconds=60))
    async with local.working(Recorder(local.bus, local.store).run):
        await text.tell("DELIVERED")
        await recorded(local)
    row = await text.row()
    assert (await text.state(), row["open"], row["deliveries"]["sms"]["due_time"]) == ("DELIVERED", [], None)
    # The worker comes late with what it made of its call.
    event = DeliveryEvent(
        delivery_id=text.delivery_id,
        notification_id=text.notification_id,
        user_id=text.user_id,
        channel=text.channel,
    )
    await Ledger(local.db).record(Change(event, DeliveryState.RETRYING, "TIMEOUT", 1, 1, due_time=now()))
    assert await text.row() == row


async def test_what_another_recorder_found_out_meanwhile_stays(local: Local) -> None:
    email = await case(local)
    first = await email.tell("DELIVERED")
    known = await facts.gather(local.db, [first])
    at = {"deliveries.email.state": DeliveryState.READ, "deliveries.email.open_time": now()}
    await local.db.ledger.update_one({"notification_id": email.notification_id}, {"$set": at})
    before = await email.row()
    await local.db.ledger.bulk_write(turn.take([first], known, now()).updates(now()))
    assert await email.row() == before
    async with local.working(Recorder(local.bus, local.store).run):
        await recorded(local)


async def test_who_is_not_known_is_passed_over(local: Local) -> None:
    email, other = await case(local), await case(local)
    before = await local.db.timeline.count_documents({})
    async with local.working(Recorder(local.bus, local.store).run):
        await email.tell("DELIVERED", delivery_id="f" * 32)
        await email.tell("DELIVERED", channel=Channel.SMS)
        await email.tell("DELIVERED", delivery_id="", provider_message_id="never-heard-of")
        await other.tell("DELIVERED")
        await recorded(local)
    assert (await email.state(), await other.state()) == ("DELIVERED_TO_PROVIDER", "DELIVERED")
    assert await local.db.timeline.count_documents({}) == before + 1


async def test_sns_gives_back_its_own_id_alone(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even before the worker has written it down."""
    monkeypatch.setattr(record, "_PAUSE_S", 0.1)
    sent, sending = (
        await case(local, "SMS", provider="sns", provider_message_id="sns-1"),
        await case(local, "SMS", "PENDING"),
    )
    async with local.working(Recorder(local.bus, local.store).run):
        await sending.tell("DELIVERED", delivery_id="", provider="sns", provider_message_id="sns-2")
        await sent.tell("DELIVERED", delivery_id="", provider="sns", provider_message_id="sns-1")
        await until(sent.state, lambda state: state == "DELIVERED")
        assert await sending.state() == "PENDING"
        fields = {"provider": "sns", "provider_message_id": "sns-2"}
        at = {f"deliveries.sms.{name}": value for name, value in fields.items()}
        await local.db.ledger.update_one({"notification_id": sending.notification_id}, {"$set": at})
        await until(sending.state, lambda state: state == "DELIVERED")
    plan = await local.db.ledger.find(
        {"deliveries.sms.provider": "sns", "deliveries.sms.provider_message_id": {"$in": ["sns-1"]}}
    ).explain()
    assert "sns" in str(plan["queryPlanner"]["winningPlan"])


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xfe",
        b"",
        CallbackEvent(callback_id="c").SerializeToString(),
        CallbackEvent(
            callback_id="c", delivery_id="d", occur_time=Timestamp(seconds=10**15)
        ).SerializeToString(),
    ],
    ids=["random bytes", "nothing", "nobody named", "a time that there is not"],
)
async def test_what_nobody_can_read_stops_nothing(local: Local, junk: bytes) -> None:
    email = await case(local)
    async with local.working(Recorder(local.bus, local.store).run):
        await local.bus.publish(Outgoing(subjects.callback("email"), junk))
        await email.tell("DELIVERED")
        await recorded(local)
    assert await email.state() == "DELIVERED"


async def test_nothing_is_lost_while_the_store_is_away(
    rig: Rig, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_PAUSE_S", 0.2)
    cases = [await case(local) for _ in range(10)]
    async with local.working(Recorder(local.bus, local.store).run):
        await rig.killed("mongod")
        for email in cases:
            await email.tell("DELIVERED")
        await recorded(local)
    assert {await email.state() for email in cases} == {"DELIVERED"}


async def test_an_attempt_tells_what_the_provider_said_and_when_the_next_one_is_due(local: Local) -> None:
    due = Timestamp(seconds=1_800_000_060)
    event = OutcomeEvent(
        delivery_id="attempted",
        notification_id="n",
        user_id="u",
        channel=Channel.EMAIL,
        state=DeliveryState.RETRYING,
        attempt=1,
        detail="503",
        due_time=due,
        occur_time=Timestamp(seconds=1_800_000_000),
    )
    # An engine repeats what a callback has made of a delivery when the message comes again.
    repeated = OutcomeEvent(delivery_id="attempted", state=DeliveryState.DELIVERED, attempt=1)
    async with local.working(Recorder(local.bus, local.store).run):
        for one in (event, repeated):
            await local.bus.publish(Outgoing(subjects.event("email"), one.SerializeToString()))
        await recorded(local)
    (entry,) = [row async for row in local.db.timeline.find({"delivery_id": "attempted"})]
    assert (entry["event"], entry["detail"]) == (TimelineEvent.ATTEMPTED, "503")
    assert entry["due_time"] == moment(due)


@pytest.mark.parametrize("place", ["record.before_ledger", "record.after_ledger"])
async def test_what_a_recorder_died_over_is_told_all_the_same(
    rig: Rig, local: Local, tmp_path: Path, place: str
) -> None:
    """A word that is written down and not on the bus is found by the sweeper. (Last: nobody settles the message
    that it died over.)"""
    armed = tmp_path / "armed"
    armed.touch()
    async with rig.started(
        ["-m", "services.ingest", "record"], "record", CROWN_FAILPOINT=f"{place}:{armed}"
    ) as service:
        async with local.dispatching():
            notification_id = await local.send(type="IN_APP", webhook_url="https://hooks.example/")
            assert await service.ended() == -signal.SIGKILL
    (row,) = [one async for one in local.db.webhooks.find({"notification_id": notification_id})]
    assert await local.delivered("webhook", notification_id) == []
    long_ago = {"$set": {"deliveries.webhook.update_time": now() - timedelta(hours=1)}}
    await local.db.webhooks.update_one({"_id": row["_id"]}, long_ago)
    assert await Sweeper(local.bus, local.store, 3600).sweep() == 1
    (event,) = await local.delivered("webhook", notification_id)
    assert (event.delivery_id, event.channel) == (row["_id"], Channel.WEBHOOK)
