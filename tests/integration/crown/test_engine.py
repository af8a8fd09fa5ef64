"""The delivery engine on real servers, with a provider that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from crown import backoff, delivery, ids, logs, metrics, newer, subjects
from crown.bus import Outgoing
from crown.choices import Choices
from crown.clock import now
from crown.judgement import Rules
from crown.ledger import Change, Claim, Entry, Ledger
from crown.notification.v1.events_pb2 import DeadLetter, DeliveryEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState, Priority, SuppressionReason
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.people import People
from crown.preferences import Preferences
from crown.provider import Attempt
from crown.recipients import Contact, Device, Recipients
from crown.store import Document
from crown.suppressions import Suppressions
from tests.integration.crown.scripted import Scripted, Step, delivering
from tests.integration.local import Local
from tests.integration.rig import until

pytestmark = pytest.mark.usefixtures("quick")

PHONE = "+14155550123"
TO_PROVIDER = "DELIVERED_TO_PROVIDER"


@dataclass
class Office:
    """A dispatcher, and engines for push and sms."""

    local: Local
    push: Scripted
    second_push: Scripted
    sms: Scripted

    async def send(self, channel: str, *steps: Step, person: str = "", **given: Any) -> str:
        """Sends, after telling the provider what to do; answers the notification's id."""
        person = person or self.local.somebody()
        provider = self.push if channel == "push" else self.sms
        provider.steps[person] = list(steps)
        if channel == "push":
            self.second_push.steps[person] = provider.steps[person]
        if "address" not in given:
            given["address"] = {"device_tokens": ["token"]} if channel == "push" else {"phone": PHONE}
        return await self.local.send(type=channel.upper(), user_id=person, **given)

    async def ends(self, notification_id: str, channel: str, state: str) -> Document:
        """Waits for the final state; answers the delivery as the ledger has it, once its message is settled."""
        await self.local.becomes(notification_id, channel, state)
        await until(partial(self.settled, channel))
        (row,) = await self.local.rows(notification_id)
        assert channel not in row["open"]
        found: Document = row["deliveries"][channel]
        return found

    async def settled(self, channel: str) -> bool:
        """Whether no message of the channel is open."""
        consumers = [
            make(channel, lane)
            for make in (subjects.worker, subjects.retrier)
            for lane in subjects.LANES.values()
        ]
        return not sum([await self.local.backlog(consumer) for consumer in consumers])

    async def person(self, notification_id: str) -> str:
        """Whom it was for."""
        (row,) = await until(partial(self.local.rows, notification_id))
        return str(row["user_id"])

    async def told(self, channel: str, notification_id: str) -> list[OutcomeEvent]:
        """The outcomes on the bus."""
        raw = await self.local.stored("EVENT", subjects.event(channel))
        events = [OutcomeEvent.FromString(one) for one in raw]
        return [event for event in events if event.notification_id == notification_id]

    async def letters(self, channel: str, notification_id: str) -> list[tuple[str, str]]:
        """Reason and error of its dead letters."""
        found = await self.local.letters(channel)
        return [
            (letter.reason, letter.error)
            for letter in found
            if letter.delivery.notification_id == notification_id
        ]


@pytest.fixture(scope="module")
async def office(local: Local, quick: None) -> AsyncIterator[Office]:
    """Everybody at work."""
    made = Office(local, Scripted("first"), Scripted("second"), Scripted("carrier"))
    async with (
        local.dispatching(),
        delivering(local, Channel.PUSH, made.push, made.second_push),
        delivering(local, Channel.SMS, made.sms),
    ):
        yield made


# -- each outcome


def unknown(channel: str, then: str) -> float:
    """What the metric says of attempts that nobody can say anything of."""
    return float(metrics.UNKNOWN.labels(channel, then)._value.get())


async def test_how_long_it_took_until_the_provider_had_it_is_measured(office: Office) -> None:
    """From acceptance on: what waited for a retry waited as well."""
    seconds = metrics.HANDED.labels("sms")._sum.get()
    notification_id = await office.send("sms", Retry("E1", after_s=2.0), Delivered("SM1"))
    found = await office.ends(notification_id, "sms", TO_PROVIDER)
    row = await office.local.db.ledger.find_one({"notification_id": notification_id})
    assert row is not None
    took_s = (found["update_time"] - row["create_time"]).total_seconds()
    assert metrics.HANDED.labels("sms")._sum.get() - seconds == pytest.approx(took_s, abs=0.5)


async def test_delivered(office: Office) -> None:
    notification_id = await office.send("sms", Delivered("SM1"), data={"title": "Hi", "message": "there"})
    found = await office.ends(notification_id, "sms", TO_PROVIDER)
    assert (found["attempts"], found["claims"], found["reason"]) == (1, 1, "")
    assert (found["provider"], found["provider_message_id"]) == ("carrier", "SM1")
    (attempt,) = office.sms.sent_to(await office.person(notification_id))
    assert (attempt.notification_id, attempt.delivery_id, attempt.number) == (notification_id, found["id"], 1)
    assert [place.address for place in attempt.destinations] == [PHONE]
    assert (attempt.data.title, attempt.data.message) == ("Hi", "there")
    (event,) = await office.told("sms", notification_id)
    assert (event.state, event.attempt, event.provider_message_id) == (
        DeliveryState.DELIVERED_TO_PROVIDER,
        1,
        "SM1",
    )
    assert await office.letters("sms", notification_id) == []


async def test_a_retry_comes_by_schedule_and_goes_to_the_next_provider(office: Office) -> None:
    notification_id = await office.send("push", Retry("E1"), Retry("E2"), Delivered("m"))
    found = await office.ends(notification_id, "push", TO_PROVIDER)
    assert (found["attempts"], found["claims"], found["provider"]) == (3, 3, "first")
    person = await office.person(notification_id)
    assert [attempt.number for attempt in office.push.sent_to(person)] == [1, 3]
    assert [attempt.number for attempt in office.second_push.sent_to(person)] == [2]
    states = [(event.state, event.reason) for event in await office.told("push", notification_id)]
    assert states == [
        (DeliveryState.RETRYING, "E1"),
        (DeliveryState.RETRYING, "E2"),
        (DeliveryState.DELIVERED_TO_PROVIDER, ""),
    ]


async def test_no_retry_is_left_behind(office: Office) -> None:
    notification_id = await office.send("sms", Retry("E1", 60.0))
    await office.local.becomes(notification_id, "sms", "RETRYING")
    (row,) = await office.local.rows(notification_id)
    subject = subjects.retry("sms", row["deliveries"]["sms"]["id"])
    (waiting,) = await until(partial(office.local.stored, "RETRY", subject))
    assert DeliveryEvent.FromString(waiting).notification_id == notification_id
    assert row["deliveries"]["sms"]["due_time"] > now() + timedelta(seconds=50)
    await until(partial(office.settled, "sms"))


async def test_to_be_asked_to_wait_costs_no_attempt(office: Office) -> None:
    notification_id = await office.send("sms", Snooze("429"), Snooze("429"), Delivered("m"))
    found = await office.ends(notification_id, "sms", TO_PROVIDER)
    assert (found["attempts"], found["claims"]) == (1, 3)


async def test_a_final_no_goes_to_the_dead_letters(office: Office) -> None:
    notification_id = await office.send("sms", Discard("INVALID_NUMBER", "21211"))
    found = await office.ends(notification_id, "sms", "FAILED")
    assert found["reason"] == "INVALID_NUMBER: 21211"
    assert await office.letters("sms", notification_id) == [("PROVIDER_TERMINAL", "INVALID_NUMBER: 21211")]


async def test_after_the_last_attempt_it_is_given_up(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "ATTEMPTS_MOST", 2)
    notification_id = await office.send("sms", Retry("E1"), Retry("E2"), Delivered("m"))
    found = await office.ends(notification_id, "sms", "FAILED")
    assert (found["attempts"], found["reason"]) == (2, "RETRIES_EXHAUSTED: E2")
    assert await office.letters("sms", notification_id) == [("RETRIES_EXHAUSTED", "RETRIES_EXHAUSTED: E2")]


@pytest.mark.parametrize(
    ("channel", "category", "sends", "state"),
    [
        ("push", "SOCIAL", 2, TO_PROVIDER),
        ("sms", "SECURITY", 2, TO_PROVIDER),
        ("sms", "SOCIAL", 1, "UNKNOWN"),
    ],
)
async def test_an_unknown_outcome_follows_the_policy(
    office: Office, channel: str, category: str, sends: int, state: str
) -> None:
    then = "given_up" if state == "UNKNOWN" else "sent_again"
    before = unknown(channel, then)
    notification_id = await office.send(channel, Unknown("TIMEOUT"), Delivered("m"), category=category)
    await office.ends(notification_id, channel, state)
    assert unknown(channel, then) == before + 1
    person = await office.person(notification_id)
    sent = [*office.push.sent_to(person), *office.second_push.sent_to(person), *office.sms.sent_to(person)]
    assert len(sent) == sends
    expected = ["OUTCOME_UNKNOWN"] if state == "UNKNOWN" else []
    assert [reason for reason, _ in await office.letters(channel, notification_id)] == expected


async def test_where_the_provider_can_say_a_moment_later_it_is_asked(office: Office) -> None:
    person = office.local.somebody()
    office.sms.found[person] = Delivered("found")
    notification_id = await office.send("sms", Unknown("TIMEOUT"), person=person)
    found = await office.ends(notification_id, "sms", TO_PROVIDER)
    assert (found["provider_message_id"], found["attempts"], found["unknowns"]) == ("found", 1, 0)
    assert len(office.sms.sent_to(person)) == 1


async def test_an_exception_is_a_bug_after_which_nobody_can_say(office: Office) -> None:
    with structlog.testing.capture_logs([logs.with_ids]) as logged:
        notification_id = await office.send("sms", KeyError("hunter2"))
        found = await office.ends(notification_id, "sms", "UNKNOWN")
    assert found["reason"].startswith("OUTCOME_UNKNOWN: ")
    (line,) = [line for line in logged if line["event"] == "provider_failed"]
    assert (line["notification_id"], line["delivery_id"]) == (notification_id, found["id"])
    assert len(line["trace_id"]) == 32
    other = await office.send("push", KeyError("hunter2"), Delivered("m"))
    assert (await office.ends(other, "push", TO_PROVIDER))["attempts"] == 2


# -- what is decided at the last moment


async def test_what_expires_before_its_turn_is_not_sent(office: Office) -> None:
    soon = Timestamp()
    soon.FromDatetime(datetime.now(UTC) + timedelta(seconds=1.5))
    notification_id = await office.send("sms", Retry("E1", 60.0), expires_at=soon)
    found = await office.ends(notification_id, "sms", "EXPIRED")
    assert found["reason"] == "EXPIRED: E1"
    assert found["due_time"] is None


def _then(office: Office, change: Any) -> Step:
    """A retry, and something changes before it."""

    async def step(attempt: Attempt) -> Outcome:
        await change(attempt.user_id)
        return Retry("E1")

    return step


async def test_an_opt_out_counts_until_the_last_moment(office: Office) -> None:
    async def opt_out(person: str) -> None:
        await Preferences(office.local.db).replace(person, Choices({"social": {"sms": False}}))

    notification_id = await office.send("sms", _then(office, opt_out), category="SOCIAL")
    found = await office.ends(notification_id, "sms", "SUPPRESSED")
    assert (found["reason"], found["attempts"]) == ("PREFERENCE_OFF", 1)
    assert len(office.sms.sent_to(await office.person(notification_id))) == 1


@pytest.mark.parametrize("known_anew", [False, True])
async def test_an_erasure_counts_until_the_last_moment(office: Office, known_anew: bool) -> None:
    people = People(office.local.db, office.local.data_key)

    async def erase(person: str) -> None:
        await office.local.db.people.delete_one({"_id": person})
        if known_anew:
            await people.keys_or_new([person])

    notification_id = await office.send("sms", _then(office, erase))
    found = await office.ends(notification_id, "sms", "SUPPRESSED")
    assert found["reason"] == "ERASED"
    assert len(office.sms.sent_to(await office.person(notification_id))) == 1


async def test_content_that_is_gone_is_not_sent(office: Office) -> None:
    async def forget(person: str) -> None:
        row = await office.local.db.ledger.find_one({"user_id": person})
        assert row is not None
        await office.local.db.notifications.delete_one({"_id": row["notification_id"]})

    notification_id = await office.send("sms", _then(office, forget))
    assert (await office.ends(notification_id, "sms", "SUPPRESSED"))["reason"] == "ERASED"


async def test_without_an_address_it_ends_with_a_reason(office: Office) -> None:
    notification_id = await office.send("sms", address={"email": "a@b.org"})
    found = await office.ends(notification_id, "sms", "SUPPRESSED")
    assert (found["reason"], found["claims"]) == ("NO_ADDRESS", 0)


async def test_a_suppressed_address_gets_nothing(office: Office) -> None:
    suppressions = Suppressions(office.local.db, office.local.data_key)
    await suppressions.add(Channel.SMS, "+14155550199", SuppressionReason.UNSUBSCRIBE, "twilio")
    notification_id = await office.send("sms", address={"phone": "+14155550199"})
    found = await office.ends(notification_id, "sms", "SUPPRESSED")
    assert (found["reason"], found["claims"]) == ("ADDRESS_SUPPRESSED: UNSUBSCRIBE", 0)


async def test_an_attempt_knows_the_language_of_the_person(office: Office) -> None:
    person = office.local.somebody()
    recipients = Recipients(office.local.db, People(office.local.db, office.local.data_key))
    await recipients.replace_contact(person, Contact(phone=PHONE, locale="pt-BR"))
    for address in (None, {"phone": PHONE}):
        await office.ends(await office.send("sms", person=person, address=address), "sms", TO_PROVIDER)
    assert [attempt.locale for attempt in office.sms.sent_to(person)] == ["pt-BR", "pt-BR"]


async def test_a_claim_names_its_row(office: Office) -> None:
    notification_id = await office.send("sms")
    found = await office.ends(notification_id, "sms", TO_PROVIDER)
    claim = await office.local.db.claims.find_one({"_id": f"{found['id']}:1"})
    (row,) = await office.local.rows(notification_id)
    assert claim is not None
    assert claim["row"] == row["_id"]


async def test_a_row_that_is_gone_ends_quietly(office: Office) -> None:
    event = DeliveryEvent(delivery_id="gone", notification_id="gone", user_id="gone", channel=Channel.SMS)
    await office.local.bus.publish(Outgoing(subjects.delivery("sms", "normal"), event.SerializeToString()))
    await until(partial(office.settled, "sms"))
    assert office.sms.sent_to("gone") == []


async def _device(office: Office, person: str, token: str) -> Device:
    recipients = Recipients(office.local.db, People(office.local.db, office.local.data_key))
    moment = now()
    device = Device(f"{person}-{token}", person, token, 1, 1, moment, moment)  # type: ignore[arg-type]
    return await recipients.put_device(device)


async def test_addresses_are_those_of_the_moment(office: Office) -> None:
    """A second device that registers between two attempts is reached, too."""
    person = office.local.somebody()
    first = await _device(office, person, "one")

    async def register(_person: str) -> None:
        await _device(office, person, "two")

    notification_id = await office.send("push", _then(office, register), person=person, address=None)
    await office.ends(notification_id, "push", TO_PROVIDER)
    (one,) = office.push.sent_to(person)
    (two,) = office.second_push.sent_to(person)
    assert [(place.id, place.address) for place in one.destinations] == [(first.id, "one")]
    assert sorted(place.address for place in two.destinations) == ["one", "two"]


async def test_who_has_it_does_not_get_it_again(office: Office) -> None:
    tokens = {"device_tokens": ["a", "b", "c"]}
    notification_id = await office.send(
        "push", Retry("E1", None, ("given0",)), Retry("E2", None, ("given2",)), Delivered("m"), address=tokens
    )
    await office.ends(notification_id, "push", TO_PROVIDER)
    person = await office.person(notification_id)
    reached = [[place.address for place in attempt.destinations] for attempt in office.push.sent_to(person)]
    assert reached == [["a", "b", "c"], ["b"]]
    assert [place.address for place in office.second_push.sent_to(person)[0].destinations] == ["b", "c"]


async def test_when_the_last_device_is_gone_and_others_have_it_it_is_delivered(office: Office) -> None:
    person = office.local.somebody()
    one = await _device(office, person, "one")
    two = await _device(office, person, "two")

    async def unregister(attempt: Attempt) -> Outcome:
        await office.local.db.devices.delete_one({"_id": two.id})
        return Retry("E1", None, (one.id,))

    notification_id = await office.send("push", unregister, person=person, address=None)
    await office.ends(notification_id, "push", TO_PROVIDER)


# -- messages that come again, or that nobody can read


async def _again(office: Office, notification_id: str, channel: str) -> None:
    (row,) = await office.local.rows(notification_id)
    event = DeliveryEvent(
        delivery_id=row["deliveries"][channel]["id"],
        notification_id=notification_id,
        user_id=row["user_id"],
        channel=getattr(Channel, channel.upper()),
        priority=row["lane"],
    )
    await office.local.bus.publish(Outgoing(subjects.delivery(channel, "normal"), event.SerializeToString()))
    await until(partial(office.settled, channel))


@pytest.mark.parametrize(
    ("step", "state", "letters"),
    [(Delivered("m"), TO_PROVIDER, 0), (Discard("NO", "1"), "FAILED", 1)],
    ids=str,
)
async def test_what_is_final_stays_so(office: Office, step: Step, state: str, letters: int) -> None:
    notification_id = await office.send("sms", step)
    before = await office.ends(notification_id, "sms", state)
    for _ in range(3):
        await _again(office, notification_id, "sms")
    assert await office.ends(notification_id, "sms", state) == before
    assert len(office.sms.sent_to(await office.person(notification_id))) == 1
    assert len(await office.letters("sms", notification_id)) == letters


async def test_a_copy_of_one_that_waits_for_its_retry_waits_too(office: Office) -> None:
    notification_id = await office.send("sms", Retry("E1", 60.0))
    await office.local.becomes(notification_id, "sms", "RETRYING")
    await _again(office, notification_id, "sms")
    assert len(office.sms.sent_to(await office.person(notification_id))) == 1


async def test_two_copies_at_once_are_sent_once(office: Office) -> None:
    blocked = asyncio.Event()

    async def wait(_attempt: Attempt) -> Outcome:
        await blocked.wait()
        return Delivered("m")

    notification_id = await office.send("sms", wait)
    person = await office.person(notification_id)
    await until(partial(_sent, office.sms, person))
    (row,) = await office.local.rows(notification_id)
    event = DeliveryEvent(
        delivery_id=row["deliveries"]["sms"]["id"],
        notification_id=notification_id,
        user_id=person,
        channel=Channel.SMS,
        priority=row["lane"],
    )
    for _ in range(5):
        await office.local.bus.publish(
            Outgoing(subjects.delivery("sms", "normal"), event.SerializeToString())
        )
    await asyncio.sleep(0.3)
    blocked.set()
    await office.ends(notification_id, "sms", TO_PROVIDER)
    assert len(office.sms.sent_to(person)) == 1


async def _sent(provider: Scripted, person: str) -> list[Attempt]:
    return provider.sent_to(person)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xfe",
        b"",
        b"text",
        DeliveryEvent(
            delivery_id="d", notification_id="n", user_id="u", channel=Channel.PUSH
        ).SerializeToString(),
        DeliveryEvent(delivery_id="d", notification_id="n", channel=Channel.SMS).SerializeToString(),
    ],
    ids=["random bytes", "nothing", "text", "another channel", "no person"],
)
async def test_what_nobody_can_read_goes_to_the_dead_letters(office: Office, raw: bytes) -> None:
    before = len(await office.local.letters("sms"))
    await office.local.bus.publish(Outgoing(subjects.delivery("sms", "normal"), raw))
    letters = await until(lambda: office.local.letters("sms"), lambda found: len(found) > before)
    await until(partial(office.settled, "sms"))
    (letter,) = letters[before:]
    assert (letter.reason, letter.body) == ("UNDECODABLE", raw)


async def test_what_cannot_be_worked_is_put_aside_in_the_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restore of the wrong backup: the row is there, and the person's key is none."""
    monkeypatch.setattr(delivery, "KILLED_MOST", 2)

    async def spoil(person: str) -> None:
        await office.local.db.people.update_one({"_id": person}, {"$set": {"key": b"not a key"}})
        # So that nothing tells of the first attempt.
        await office.local.db.claims.delete_many({})

    notification_id = await office.send("sms", _then(office, spoil))
    await office.local.becomes(notification_id, "sms", "RETRYING")
    await office.local.db.ledger.update_one(
        {"notification_id": notification_id}, {"$set": {"deliveries.sms.claims": 0}}
    )
    found = await office.ends(notification_id, "sms", "FAILED")
    assert found["reason"] == "POISON_KILLED_WORKER"
    assert await office.letters("sms", notification_id) == [("POISON_KILLED_WORKER", "POISON_KILLED_WORKER")]


async def test_a_bug_is_not_tried_again_at_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may cost the bus one redelivery after the other within a millisecond."""
    tried = []

    def broken(entry: Entry, moment: datetime, rules: Rules) -> Change | None:
        del moment, rules
        tried.append(entry.event.delivery_id)
        raise RuntimeError("a bug")

    async def began() -> bool:
        return bool(tried)

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "vet", broken)
        patch.setattr(backoff, "plain_s", lambda attempt: 0.7)
        notification_id = await office.send("sms", Delivered("SM1"))
        await until(began)
        await asyncio.sleep(0.5)
        assert len(tried) == 1
    await office.ends(notification_id, "sms", TO_PROVIDER)


# -- claims of others


async def _claimed(office: Office, channel: str, age_s: float, **given: Any) -> str:
    """A delivery whose first attempt somebody claimed `age_s` ago, and was not heard of since."""
    person = given.pop("person", None) or office.local.somebody()
    address = {"phone": PHONE, "device_tokens": ["t"]}
    accepted = office.local.accepted(type=channel.upper(), address=address, user_id=person, **given)
    delivery_id = ids.delivery(accepted.notification_id, person, channel)
    provider = "carrier" if channel == "sms" else "first"
    claim = {"_id": f"{delivery_id}:1", "time": now() - timedelta(seconds=age_s), "provider": provider}
    await office.local.db.claims.insert_one(claim)
    return await office.local.put(accepted)


async def test_of_a_claim_without_an_outcome_the_provider_is_asked(office: Office) -> None:
    person = office.local.somebody()
    office.sms.found[person] = Delivered("found")
    notification_id = await _claimed(office, "sms", 60, person=person)
    found = await office.ends(notification_id, "sms", TO_PROVIDER)
    assert (found["provider_message_id"], found["claims"]) == ("found", 1)
    assert office.sms.sent_to(person) == []


async def test_where_it_surely_was_not_sent_it_is_sent(office: Office) -> None:
    person = office.local.somebody()
    office.sms.found[person] = Retry("NOT_FOUND")
    notification_id = await _claimed(office, "sms", 60, person=person)
    found = await office.ends(notification_id, "sms", TO_PROVIDER)
    assert (found["claims"], len(office.sms.sent_to(person))) == (2, 1)


@pytest.mark.parametrize(
    ("channel", "category", "state", "sends"),
    [
        ("sms", "SOCIAL", "UNKNOWN", 0),
        ("sms", "SECURITY", TO_PROVIDER, 1),
        ("push", "SOCIAL", TO_PROVIDER, 1),
    ],
)
async def test_where_nobody_can_say_the_policy_decides(
    office: Office, channel: str, category: str, state: str, sends: int
) -> None:
    notification_id = await _claimed(office, channel, 60, category=category)
    found = await office.ends(notification_id, channel, state)
    assert found["unknowns"] == 1
    person = await office.person(notification_id)
    sent = [*office.push.sent_to(person), *office.second_push.sent_to(person), *office.sms.sent_to(person)]
    assert len(sent) == sends
    if state == "UNKNOWN":
        assert found["reason"].startswith("OUTCOME_UNKNOWN: ")


async def test_a_claim_of_a_moment_ago_is_respected(office: Office) -> None:
    """Its worker may still be at it."""
    notification_id = await _claimed(office, "push", 0)
    person = await office.person(notification_id)
    await asyncio.sleep(0.8)
    assert await office.local.state(notification_id, "push") == ("PENDING", "")
    await office.ends(notification_id, "push", TO_PROVIDER)
    assert len(office.second_push.sent_to(person)) == 1


# -- the ledger's own guards


async def test_a_late_worker_takes_nothing_back(office: Office) -> None:
    """It was paused so long that another one has gone on: neither a final state nor a later attempt is undone."""
    notification_id = await office.send("sms", Retry("E1", 60.0))
    await office.local.becomes(notification_id, "sms", "RETRYING")
    (row,) = await office.local.rows(notification_id)
    event = DeliveryEvent(
        delivery_id=row["deliveries"]["sms"]["id"],
        notification_id=notification_id,
        user_id=row["user_id"],
        channel=Channel.SMS,
    )
    ledger = Ledger(office.local.db)

    async def recorded(state: DeliveryState.Type.ValueType, claims: int) -> tuple[int, int]:
        await ledger.record(Change(event, state, attempts=claims, claims=claims))
        (found,) = await office.local.rows(notification_id)
        delivery = found["deliveries"]["sms"]
        return delivery["state"], delivery["claims"]

    retrying, delivered = DeliveryState.RETRYING, DeliveryState.DELIVERED_TO_PROVIDER
    assert await recorded(retrying, 3) == (retrying, 3)
    assert await recorded(retrying, 2) == (retrying, 3)
    assert await recorded(retrying, 3) == (retrying, 3)
    assert await recorded(delivered, 4) == (delivered, 4)
    assert await recorded(retrying, 5) == (delivered, 4)
    (row,) = await office.local.rows(notification_id)
    assert row["open"] == []


async def test_of_two_claims_one_wins(office: Office) -> None:
    ledgers = [Ledger(office.local.db) for _ in range(3)]
    claims = [Claim(f"d{number}", 1, "me") for number in range(100)]
    found = await asyncio.gather(
        *(ledger.claim(claim) for claim in claims for ledger in (*ledgers, ledgers[0]))
    )
    for number in range(100):
        assert sum(found[number * 4 : number * 4 + 4]) == 1
    taken = await ledgers[0].claimed(claims[0])
    assert taken is not None
    assert abs(now() - taken.time) < timedelta(seconds=10)
    assert await ledgers[0].claimed(Claim("nobody", 1, "me")) is None


# -- together


async def test_two_engines_share_the_work(local: Local, quick: None) -> None:
    one, two = Scripted("one", slow_s=0.01), Scripted("two", slow_s=0.01)
    async with local.dispatching():
        people = [f"shared-{number}" for number in range(400)]
        async with (
            delivering(local, Channel.EMAIL, one, in_flight=16),
            delivering(local, Channel.EMAIL, two, in_flight=16),
        ):
            sending = (
                local.send(type="EMAIL", user_id=person, address={"email": "a@b.org"}) for person in people
            )
            found = await asyncio.gather(*sending)
            where = {"notification_id": {"$in": found}, "open": []}
            await until(lambda: local.db.ledger.count_documents(where), lambda count: count == len(found), 30)
    sent = [attempt.user_id for attempt in [*one.sent, *two.sent]]
    assert sorted(sent) == sorted(people)
    assert min(len(one.sent), len(two.sent)) > 40


# -- what newer code has left


@pytest.mark.parametrize("why", ["version", "channel", "lane"])
async def test_what_no_newer_code_comes_for_ends_as_a_dead_letter(
    office: Office, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(newer, "DELIVERIES_MOST", 2)
    monkeypatch.setattr(newer, "FIRST_S", 0.1)
    event = DeliveryEvent(delivery_id="d-x", notification_id="n-x", user_id="u", channel=Channel.SMS)
    match why:
        case "version":
            event.needs_version = newer.VERSION + 1
        case "channel":
            event.channel = 77  # type: ignore[assignment]
        case "lane":
            event.priority = 77  # type: ignore[assignment]
    raw = event.SerializeToString()
    await office.local.bus.publish(Outgoing(subjects.delivery("sms", "normal"), raw))
    (letter,) = await until(lambda: _unreadable(office, raw), bool)
    assert letter.reason == "UNDECODABLE"
    await until(partial(office.settled, "sms"))


@pytest.mark.parametrize("field", ["delivery_id", "notification_id"])
async def test_an_id_that_is_none_of_ours_is_nobodys(office: Office, field: str) -> None:
    event = DeliveryEvent(delivery_id="d-y", notification_id="n-y", user_id="u", channel=Channel.SMS)
    setattr(event, field, "not of ours")
    raw = event.SerializeToString()
    await office.local.bus.publish(Outgoing(subjects.delivery("sms", "normal"), raw))
    assert len(await until(lambda: _unreadable(office, raw), bool)) == 1


async def _unreadable(office: Office, raw: bytes) -> list[DeadLetter]:
    return [letter for letter in await office.local.letters("sms") if letter.body == raw]


@pytest.mark.parametrize("why", ["version", "channel", "lane", "state"])
async def test_what_newer_code_has_left_is_parked(
    office: Office, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """It is neither sent nor given up; and once the newer code is here it is sent once."""
    monkeypatch.setattr(newer, "MOST_S", 0.3)
    counter = metrics.PARKED.labels("sms", why)
    before = float(counter._value.get())
    # Its ledger row, as dispatch has made it, is found by the second message alone.
    sent = await office.send("sms", Delivered("m1"))
    row = await office.ends(sent, "sms", TO_PROVIDER)
    event = DeliveryEvent(
        delivery_id=row["id"], notification_id=sent, user_id=await office.person(sent), channel=Channel.SMS,
        priority=Priority.NORMAL,
    )  # fmt: skip
    at = "deliveries.sms.state"
    match why:
        case "version":
            event.needs_version = newer.VERSION + 1
        case "channel":
            event.channel = 77  # type: ignore[assignment]
        case "lane":
            event.priority = 77  # type: ignore[assignment]
        case "state":
            await office.local.db.ledger.update_one({"notification_id": sent}, {"$set": {at: 77}})
    await office.local.bus.publish(Outgoing(subjects.delivery("sms", "normal"), event.SerializeToString()))

    async def count() -> float:
        return float(counter._value.get()) - before

    await until(count, lambda found: found >= 3)
    assert not await office.letters("sms", sent)
    assert len(office.sms.sent_to(event.user_id)) == 1
    # So that nothing is left for the tests that follow.
    monkeypatch.setattr(newer, "must_be_for_us", lambda *_, **__: None)
    monkeypatch.setattr(delivery, "must_be_for_us", lambda *_, **__: None)
    await office.local.db.ledger.update_one(
        {"notification_id": sent}, {"$set": {at: DeliveryState.DELIVERED_TO_PROVIDER}}
    )
    await until(partial(office.settled, "sms"))
    assert len(office.sms.sent_to(event.user_id)) == 1
