"""Dispatch on real servers: what lands in the ledger, what is published, and what it cannot work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from nats.aio.msg import Msg

from crown import subjects, vault
from crown.bus import Bus, Outgoing
from crown.choices import Choices
from crown.ledger import row_id
from crown.notification.v1.events_pb2 import EphemeralEvent, IntakeEvent, NotificationContent
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, Priority
from crown.preferences import Preferences
from crown.vault import Key
from services.ingest.dispatch.announcer import Announcer
from tests.integration.local import Local
from tests.integration.rig import until

EVERY = ["REAL_TIME", "PUSH", "EMAIL", "SMS", "IN_APP"]


@pytest.fixture(scope="module")
async def dispatching(local: Local) -> AsyncIterator[None]:
    """A dispatcher works all the time."""
    async with local.dispatching():
        yield


@pytest.fixture
def busy(dispatching: None, local: Local) -> Local:
    """Everything, while a dispatcher works."""
    return local


async def test_one_row_and_a_delivery_for_each_channel(busy: Local) -> None:
    person = busy.somebody()
    notification_id = await busy.send(user_id=person, channels=EVERY, kind="comment")
    (row,) = await until(lambda: busy.rows(notification_id))
    await busy.dispatched()
    assert (row["_id"], row["user_id"]) == (row_id(notification_id, person), person)
    assert (row["kind"], row["category"], row["lane"]) == ("comment", Category.ACTIVITY, Priority.NORMAL)
    assert row["channels"] == [getattr(Channel, name) for name in EVERY]
    assert sorted(row["open"]) == ["email", "push", "sms"]
    states = {channel: (await busy.state(notification_id, channel)) for channel in row["deliveries"]}
    assert states == {
        "real_time": ("DELIVERED", ""),
        "in_app": ("DELIVERED", ""),
        "push": ("PENDING", ""),
        "email": ("PENDING", ""),
        "sms": ("PENDING", ""),
    }
    for channel in ("push", "email", "sms"):
        (event,) = await busy.delivered(channel, notification_id)
        assert (event.delivery_id, event.user_id) == (row["deliveries"][channel]["id"], person)
        assert subjects.CHANNELS[event.channel] == channel
        assert event.priority == Priority.NORMAL


async def test_a_live_event_carries_what_a_socket_shows(busy: Local) -> None:
    person = busy.somebody()
    notification_id = await busy.send(user_id=person, type="REAL_TIME", data={"title": "canary"}, kind="like")
    (event,) = await until(lambda: busy.live(person))
    assert (event.event, event.notification_id, event.kind) == ("notification", notification_id, "like")
    content = NotificationContent.FromString(vault.unseal(busy.data_key, event.content))
    assert NotificationData.FromString(content.data).title == "canary"


@pytest.mark.parametrize(
    ("channels", "told"),
    [(["IN_APP"], True), (["IN_APP", "EMAIL"], True), (["IN_APP", "REAL_TIME"], False), (["EMAIL"], False)],
    ids=["in_app", "and more", "a frame says so", "not shown"],
)
async def test_open_sockets_hear_that_there_is_more_to_read(
    busy: Local, channels: list[str], told: bool
) -> None:
    person = busy.somebody()
    node = await busy.bus.client.subscribe(subjects.live(subjects.user_topic(person)))
    await busy.bus.client.flush()
    notification_id = await busy.send(user_id=person, channels=channels)
    await busy.dispatched()
    # All that was said before this has been heard once this is.
    await busy.bus.tell([Outgoing(subjects.live(subjects.user_topic(person)), b"end")])
    heard: list[Msg] = []
    while not heard or heard[-1].data != b"end":
        heard.append(await node.next_msg(timeout=5))
    ephemeral = [EphemeralEvent.FromString(one.data) for one in heard[:-1] if one.headers is None]
    assert [event.event for event in ephemeral] == (["inbox"] if told else [])
    assert [busy.data_key.open(event.sealed) for event in ephemeral] == ([b"{}"] if told else [])
    assert len(await busy.rows(notification_id)) == 1


async def test_what_is_suppressed_is_no_news(busy: Local) -> None:
    person = busy.somebody()
    await Preferences(busy.db).replace(person, Choices({"activity": {"in_app": False}}))
    node = await busy.bus.client.subscribe(subjects.live(subjects.user_topic(person)))
    await busy.bus.client.flush()
    notification_id = await busy.send(user_id=person, type="IN_APP")
    (row,) = await until(lambda: busy.rows(notification_id))
    await busy.dispatched()
    assert "unread" not in row
    assert node.pending_msgs == 0


async def test_a_bus_that_is_away_now_is_no_reason_to_dispatch_again(busy: Local) -> None:
    gone = await Bus.connect(busy.rig.settings(), "gone")
    await gone.close()
    announcer = Announcer(gone, busy.data_key)
    with structlog.testing.capture_logs() as logged:
        await announcer._tell_counts(["a", "b"])
    assert [(line["event"], line["count"]) for line in logged] == [("counts_untold", 2)]


async def test_what_the_app_shows_is_unread(busy: Local) -> None:
    shown = await busy.send(type="REAL_TIME")
    mailed = await busy.send(channels=["EMAIL", "PUSH"])
    await busy.dispatched()
    found = [(await until(lambda one=one: busy.rows(one)))[0] for one in (shown, mailed)]  # type: ignore[misc]
    assert [row.get("unread") for row in found] == [True, None]


async def test_content_is_stored_once_and_opens_with_the_person_s_key(busy: Local) -> None:
    people = [busy.somebody() for _ in range(3)]
    notification_id = await busy.send(user_ids=people, data={"title": "canary"}, type="PUSH")
    rows = await until(lambda: busy.rows(notification_id), lambda found: len(found) == 3)
    notification = await busy.db.notifications.find_one({"_id": notification_id})
    assert notification is not None
    assert "ciphertext" not in str(rows)
    for row in rows:
        person = await busy.db.people.find_one({"_id": row["user_id"]})
        assert person is not None
        key = busy.data_key.unwrap(person["key"]).unwrap(row["wrapped_key"])
        content = NotificationContent.FromString(key.open(notification["content"]))
        assert NotificationData.FromString(content.data).title == "canary"


@pytest.mark.parametrize(
    ("given", "lane"),
    [
        ({"kind": "login_alert", "channels": ["PUSH"]}, "critical"),
        ({"type": "PUSH", "priority": "BULK"}, "bulk"),
    ],
    ids=["critical", "bulk"],
)
async def test_a_delivery_stays_in_its_lane(busy: Local, given: dict[str, Any], lane: str) -> None:
    notification_id = await busy.send(**given)
    await until(lambda: busy.delivered("push", notification_id, lane))
    assert await busy.delivered("push", notification_id, "normal") == []


async def test_preferences_are_obeyed_with_a_reason(busy: Local) -> None:
    person = busy.somebody()
    await Preferences(busy.db).replace(person, Choices({"social": {"push": False, "real_time": False}}))
    notification_id = await busy.send(user_id=person, channels=EVERY, category="SOCIAL")
    (row,) = await until(lambda: busy.rows(notification_id))
    await busy.dispatched()
    for channel in ("push", "real_time"):
        assert await busy.state(notification_id, channel) == ("SUPPRESSED", "PREFERENCE_OFF")
    assert sorted(row["open"]) == ["email", "sms"]
    assert await busy.delivered("push", notification_id) == []
    assert await busy.live(person) == []
    assert len(await busy.delivered("email", notification_id)) == 1

    alert = await busy.send(user_id=person, channels=["PUSH"], category="SECURITY")
    assert await until(lambda: busy.delivered("push", alert, "critical"))


async def test_what_expired_on_the_way_goes_nowhere(busy: Local) -> None:
    # Accepted in time; the intake was slow.
    accepted = busy.accepted(channels=EVERY, expires_at=Timestamp(seconds=1_600_000_000))
    notification_id = await busy.put(accepted)
    (row,) = await until(lambda: busy.rows(notification_id))
    await busy.dispatched()
    assert row["open"] == []
    for channel in row["deliveries"]:
        assert await busy.state(notification_id, channel) == ("EXPIRED", "EXPIRED")
    assert await busy.delivered("push", notification_id) == []


async def test_ten_thousand_people_each_once(busy: Local) -> None:
    people = [f"crowd-{n}" for n in range(10_000)]
    accepted = busy.accepted(user_ids=people, type="PUSH")
    assert len(accepted.parts) == 10
    await busy.put(accepted)
    where = {"notification_id": accepted.notification_id}
    await until(lambda: busy.db.ledger.count_documents(where), lambda count: count == 10_000, 30)
    await busy.dispatched()
    rows = [row["user_id"] async for row in busy.db.ledger.find(where, {"user_id": 1})]
    assert sorted(rows) == sorted(people)
    info = await busy.bus.api(
        "STREAM.INFO.DELIVERY_bulk", {"subjects_filter": subjects.delivery("push", "bulk")}
    )
    assert info["state"]["subjects"][subjects.delivery("push", "bulk")] >= 10_000


# -- what it cannot work


def spoilt(local: Local, spoil: Callable[[IntakeEvent], None]) -> bytes:
    (part,) = local.accepted(type="PUSH").parts
    event = IntakeEvent.FromString(part)
    spoil(event)
    return event.SerializeToString()


def _no_people(event: IntakeEvent) -> None:
    del event.user_ids[:]


def _sealed_by_another(event: IntakeEvent) -> None:
    event.content.CopyFrom(vault.seal(Key.fresh(), b"x"))


SPOILS: dict[str, Callable[[IntakeEvent], None]] = {
    "no id": lambda event: event.ClearField("notification_id"),
    "no people": _no_people,
    "no channels": lambda event: event.ClearField("channels"),
    "no lane": lambda event: event.ClearField("priority"),
    "no category": lambda event: event.ClearField("category"),
    "a time that there is not": lambda event: event.create_time.CopyFrom(Timestamp(seconds=10**15)),
    "an end that there is not": lambda event: event.expire_time.CopyFrom(Timestamp(seconds=10**15)),
    "no content": lambda event: event.ClearField("content"),
    "another's key": _sealed_by_another,
}


@pytest.mark.parametrize("name", [*SPOILS, "random bytes", "nothing", "text"])
async def test_what_nobody_can_read_goes_to_the_dead_letters(busy: Local, name: str) -> None:
    raw = {"random bytes": b"\xff\xfe\x00\x01", "nothing": b"", "text": b"hello"}.get(name)
    raw = spoilt(busy, SPOILS[name]) if raw is None else raw
    before = len(await busy.letters("dispatch"))
    await busy.bus.publish(Outgoing(subjects.intake("normal"), raw))
    good = await busy.send(type="PUSH")
    await until(lambda: busy.rows(good))
    letters = await until(lambda: busy.letters("dispatch"), lambda found: len(found) > before)
    (letter,) = letters[before:]
    assert (letter.reason, letter.body, letter.stream) == ("UNDECODABLE", raw, "INTAKE_normal")
    assert letter.sequence > 0
    await busy.dispatched()


async def test_a_large_message_is_kept_whole(busy: Local) -> None:
    """It may be all that is left of what was accepted."""
    event = IntakeEvent.FromString(busy.accepted(user_ids=[f"{n:0128}" for n in range(1_000)]).parts[0])
    event.content.wrapped_key = b"of another deployment"
    raw = event.SerializeToString()
    assert len(raw) > 128 << 10
    await busy.bus.publish(Outgoing(subjects.intake("bulk"), raw))
    await until(lambda: busy.letters("dispatch"), lambda found: any(one.body == raw for one in found))
