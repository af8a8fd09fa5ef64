"""The Python client against the whole suite, through the gateway: every part of it, and both halves."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from crown.client import ALL, Client, Contact, draft
from crown.client.draft import content
from crown.client.sync import Client as SyncClient
from crown.clock import now
from crown.errors import InvalidRequest, KeyReused, NotAllowed, NotFound, Stale, Suppressed, Unauthenticated
from crown.notification.v1.dead_letter_service_pb2 import DeadLetterFilter
from crown.notification.v1.notification_pb2 import Notification
from crown.notification.v1.preference_pb2 import FrequencyCap, QuietHours
from crown.notification.v1.template_service_pb2 import TemplateText
from crown.notification.v1.types_pb2 import (
    Channel,
    DeliveryState,
    GroupKind,
    InboxView,
    NotificationStatus,
    ScheduleState,
    Span,
    TimelineEvent,
)
from stack.settings import ROOT
from tests.e2e.arrivals import Ledger
from tests.e2e.people import MAIL_DOMAIN, MESSAGE, PHONE_PREFIX, TITLE, People, Person
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until


@pytest.fixture
async def client(rest: Rest, feed: Caller) -> AsyncIterator[Client]:
    """A service."""
    async with Client(rest.address, token=str(feed.token)) as made:
        yield made


@pytest.fixture
async def operator(rest: Rest) -> AsyncIterator[Client]:
    """One who runs the suite."""
    async with Client(rest.address, token=str(rest.operator.token)) as made:
        yield made


async def done(client: Client, notification_id: str) -> Notification:
    """The notification, once it is at its end."""

    async def read() -> Notification | None:
        try:
            return await client.get(notification_id)
        except NotFound:
            return None

    found = await until(read, lambda one: one is not None and one.status == NotificationStatus.DONE)
    assert found is not None
    return found


async def shown(client: Client, person: Person, count: int) -> list[str]:
    """The ids of so many notifications that the person's inbox shows."""
    drafts = [
        draft(user_id=person.user_id, channels=["in_app"], title=f"{TITLE} {number}")
        for number in range(count)
    ]
    sent = [one.notification_id async for one in client.send_stream(drafts)]
    await until(lambda: client.inbox.counts(person.user_id), lambda found: found.unread_count == count)
    return sent


async def test_send_explain_and_errors(client: Client, person: Person) -> None:
    key = secrets.token_hex(8)
    fields = {"user_id": person.user_id, "title": TITLE}
    sent = await client.send(**fields, channels=["in_app", "push"], idempotency_key=key)  # type: ignore[arg-type]
    again = await client.send(**fields, channels=["in_app", "push"], idempotency_key=key)  # type: ignore[arg-type]
    assert again == sent
    assert (await done(client, sent)).notification_id == sent

    async def story() -> list[TimelineEvent.Type.ValueType]:
        return [entry.event async for entry in client.explain(sent)]

    # The recorder writes an attempt down a moment after it ended.
    assert (await until(story, lambda found: TimelineEvent.ATTEMPTED in found))[0] == TimelineEvent.ACCEPTED
    with pytest.raises(KeyReused):
        await client.send(user_id=person.user_id, title="Another", idempotency_key=key)
    with pytest.raises(InvalidRequest, match="user_id"):
        await client.send(title=TITLE)
    with pytest.raises(NotFound):
        await client.get("00000000-0000-8000-8000-000000000000")


async def test_who_may_what(rest: Rest, person: Person, people: People) -> None:
    async with Client(rest.address, token=str(person.caller.token)) as mine, Client(rest.address) as nobody:
        assert (await mine.inbox.counts(person.user_id)).unread_count == 0
        with pytest.raises(NotAllowed):
            await mine.inbox.counts(people.stranger().user_id)
        with pytest.raises(Unauthenticated):
            await nobody.inbox.counts(person.user_id)


async def test_what_is_to_come_is_cancelled(client: Client, person: Person) -> None:
    sent = await client.send(
        user_id=person.user_id, channels=["push"], title=TITLE, send_at=now() + timedelta(hours=1)
    )
    assert (await client.cancel(sent)).status == NotificationStatus.CANCELLED


async def test_a_stream(client: Client, people: People) -> None:
    drafts = [draft(user_id=people.stranger().user_id, channels=["in_app"], title=TITLE) for _ in range(600)]
    drafts.insert(300, draft(user_id="not good", title=TITLE))
    sent = [one async for one in client.send_stream(drafts, window=200)]
    assert [position for position, one in enumerate(sent) if one.error] == [300]
    assert isinstance(sent[300].error, InvalidRequest)
    assert len({one.notification_id for one in sent if not one.error}) == 600
    assert (await done(client, sent[600].notification_id)).status == NotificationStatus.DONE


async def test_the_inbox(client: Client, person: Person) -> None:
    ids = await shown(client, person, 5)
    who, inbox = person.user_id, client.inbox
    assert await inbox.mark_seen(who, ALL) == 5
    assert await inbox.mark_read(who, ids[0]) == 1
    assert await inbox.mark_read(who, ids[:3]) == 2
    assert await inbox.mark_unread(who, [ids[0]]) == 1
    found = await inbox.counts(who)
    assert (found.unread_count, found.unseen_count) == (3, 0)
    assert await inbox.mark_read(who, ALL) == 3
    assert await inbox.archive(who, ids[4]) == 1
    listed = {entry.notification_id async for entry in client.history(who, page_size=3)}
    assert listed == set(ids[:4])
    archived = [entry.notification_id async for entry in inbox.entries(who, view=InboxView.ARCHIVED)]
    assert archived == [ids[4]]
    assert await inbox.unarchive(who, ALL) == 1
    assert await inbox.delete(who, ids[0]) == 1
    assert (await inbox.page(who, limit=2)).total == 4
    assert await inbox.delete(who, ALL) == 4
    with pytest.raises(NotFound):
        await inbox.mark_read(who, "00000000-0000-8000-8000-000000000000")


async def test_choices(client: Client, person: Person) -> None:
    who, choices = person.user_id, client.choices
    found = await choices.change(
        who,
        quiet_hours=[QuietHours(start="22:00", end="07:00")],
        time_zone="Europe/Berlin",
        caps=[FrequencyCap(channel=Channel.SMS, most=3, per=Span.DAY)],
    )
    assert (found.quiet_hours[0].start, found.caps[0].most) == ("22:00", 3)
    first = await choices.get(who)
    second = await choices.replace(who, first)
    assert second.time_zone == "Europe/Berlin"
    with pytest.raises(Stale):
        await choices.change(who, etag="of yesterday", all_off=True)
    assert (await choices.change(who, etag=second.etag, all_off=True)).all_off
    assert (await client.set_preferences(who, {"social": {"push": False}}))["social"]["push"] is False
    assert (await choices.get(who)).quiet_hours
    assert (await client.preferences(who))["social"]["push"] is False


async def test_contact_and_devices(client: Client, people: People) -> None:
    who = people.stranger().user_id
    contact = Contact(email=f"{who}@{MAIL_DOMAIN}", time_zone="Europe/Berlin")
    assert await client.set_contact(who, contact) == await client.contact(who) == contact
    device = await client.register_device(who, f"heron-device-{who}")
    assert [one.device_id for one in await client.devices(who)] == [device.device_id]
    await client.delete_device(who, device.device_id)
    assert not await client.devices(who)


async def test_groups(client: Client, people: People) -> None:
    group, ids = secrets.token_hex(6), sorted(people.stranger().user_id for _ in range(3))
    assert (await client.groups.put(group, kind=GroupKind.CHAT)).kind == GroupKind.CHAT
    assert await client.groups.add(group, ids) == 3
    assert await client.groups.remove(group, ids[:1]) == 1
    assert [member.user_id async for member in client.groups.members(group)] == ids[1:]
    streamed = client.groups.stream_members(group, after=ids[1])
    assert [member.user_id async for member in streamed] == ids[2:]
    assert (await client.groups.get(group)).group_id == group
    await client.groups.delete(group)
    with pytest.raises(NotFound):
        await client.groups.get(group)


async def test_schedules(client: Client, person: Person) -> None:
    what = draft(user_id=person.user_id, channels=["in_app"], title=TITLE)
    made = await client.schedules.create("0 9 * * MON", what, name="weekly")
    schedule_id = made.schedule_id
    assert (await client.schedules.pause(schedule_id)).state == ScheduleState.PAUSED
    assert (await client.schedules.resume(schedule_id)).next_times
    assert (await client.schedules.update(schedule_id, "0 10 * * *", what)).cron == "0 10 * * *"
    assert (await client.schedules.get(schedule_id)).name == ""
    assert schedule_id in [one.schedule_id async for one in client.schedules.all()]
    sent = await client.schedules.run(schedule_id)
    assert await done(client, sent)
    await client.schedules.delete(schedule_id)
    with pytest.raises(NotFound):
        await client.schedules.delete(schedule_id)


async def test_templates(client: Client) -> None:
    name = f"t-{secrets.token_hex(4)}"
    text = TemplateText(subject="{{ title }}", html="<p>{{ message }}</p>")
    first = await client.templates.put(name, {"en": text})
    second = await client.templates.put(name, {"en": text}, if_version=first.version)
    with pytest.raises(Stale):
        await client.templates.put(name, {"en": text}, if_version=first.version)
    assert [one.version for one in await client.templates.versions(name)] == [second.version, first.version]
    assert (await client.templates.activate(name, first.version)).active
    assert (await client.templates.get(name)).version == first.version
    assert name in [one.template_id for one in await client.templates.all()]
    preview = await client.templates.preview(name, data=content(title=TITLE, message=MESSAGE))
    assert (preview.subject, MESSAGE in preview.html) == (TITLE, True)
    await client.templates.delete(name)
    with pytest.raises(NotFound):
        await client.templates.get(name)


async def test_direct_sends_and_suppressions(client: Client, people: People) -> None:
    address = f"direct-{secrets.token_hex(4)}@{MAIL_DOMAIN}"
    receipt = await client.direct.email(address, title=TITLE, message=MESSAGE, idempotency_key=address)
    again = await client.direct.email(address, title=TITLE, message=MESSAGE, idempotency_key=address)
    assert receipt.state == DeliveryState.DELIVERED_TO_PROVIDER
    assert again.provider_message_id == receipt.provider_message_id
    who = people.stranger().user_id
    assert (await client.direct.push(f"heron-device-{who}", title=TITLE)).provider_message_id
    assert (await client.direct.sms(f"{PHONE_PREFIX}9001", message=MESSAGE)).segments == 1
    assert (await client.direct.preview_sms(f"{PHONE_PREFIX}9001", message=MESSAGE)).encoding == "GSM-7"

    made = await client.suppressions.create(Channel.EMAIL, address)
    with pytest.raises(Suppressed):
        await client.direct.email(address, title=TITLE)
    assert await client.suppressions.look_up(Channel.EMAIL, address) == made
    listed = [one.suppression_id async for one in client.suppressions.all(channel=Channel.EMAIL)]
    assert made.suppression_id in listed
    await client.suppressions.delete(made.suppression_id)
    assert await client.suppressions.look_up(Channel.EMAIL, address) is None


async def test_sockets(client: Client, people: People) -> None:
    who = people.stranger().user_id
    events = client.live.subscribe(who)
    # The first event may come before the subscription does; so one is sent until one is heard.
    heard = asyncio.ensure_future(anext(events))
    while not heard.done():
        assert await client.publish(who, "waved", {"who": "bob"}) > 0
        await asyncio.wait([heard], timeout=0.2)
    assert (heard.result().event, heard.result().payload["who"]) == ("waved", "bob")
    await events.aclose()
    assert [one.user_id for one in await client.live.presence([who])] == [who]
    group = secrets.token_hex(6)
    await client.groups.put(group, kind=GroupKind.CHAT)
    assert (await client.live.on_topic(f"chat:{group}")).online_count == 0
    await client.live.disconnect(who, keep_tokens=True)
    await client.live.revoke_tokens(service_id=f"{who}-service")


async def test_people(client: Client, person: Person) -> None:
    await shown(client, person, 2)
    document = b"".join([part async for part in client.people.export(person.user_id)])
    assert json.loads(document)["contact"]["email"] == person.email
    await client.people.erase(person.user_id)
    assert await client.contact(person.user_id) == Contact()


async def test_dead_letters_and_books(
    client: Client, operator: Client, ledger: Ledger, people: People
) -> None:
    sent = []
    for _ in range(2):
        person = await people.new()
        body = {"code": 21211, "message": "no such number", "status": 400}
        async with ledger.scripted("twilio", person.phone, status=400, body=body):
            sent.append(
                await client.send(user_id=person.user_id, type="sms", title=TITLE, kind="login_alert")
            )
            await done(client, sent[-1])
    letters = operator.dead_letters

    async def of(notification_id: str) -> list[str]:
        wanted = DeadLetterFilter(notification_id=notification_id)
        return [one.dead_letter_id async for one in letters.find(wanted)]

    (first,), (second,) = [await until(lambda one=one: of(one), bool) for one in sent]  # type: ignore[misc]
    assert (await letters.get(first)).attempts
    assert (await letters.discard(first)).update_by
    wanted = DeadLetterFilter(notification_id=sent[1])
    assert await letters.count(wanted) == 1
    replay = await letters.replay_all(wanted)
    ended = await until(lambda: letters.get_replay(replay.replay_id), lambda found: found.done)
    assert ended.replayed == 1
    assert (await letters.cancel_replay(replay.replay_id)).done
    assert (await letters.replay(second)).dead_letter_id == second
    assert (await operator.operations.books()).recipients > 0
    assert "email" in await operator.operations.ready()


@pytest.mark.parametrize("number", [0, 1], ids=["async", "sync"])
async def test_the_examples_of_the_page(rest: Rest, feed: Caller, number: int) -> None:
    blocks = (ROOT / "docs" / "python-client.md").read_text().split("```python\n")[1:]
    program = blocks[number].partition("```")[0].replace("localhost:3005", rest.address)
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", f"TOKEN = {feed.token!r}\n{program}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, len(ran.stdout.split()) >= 1) == (0, True), ran.stderr


def synchronously(address: str, token: str, operator: str, who: str) -> None:
    """One call of each sort."""
    with SyncClient(address, token=token) as client, SyncClient(address, token=operator) as mine:
        sent = client.send(user_id=who, channels=["in_app"], title=TITLE)
        drafts = (draft(user_id=who, channels=["in_app"], title=f"{TITLE} {number}") for number in range(700))
        streamed = list(client.send_stream(drafts, window=100))
        assert len({one.notification_id for one in streamed}) == 700
        many = client.send_many([draft(user_id=who, channels=["in_app"], title=TITLE), draft(user_id=who)])
        assert [one.error is None for one in many] == [True, False]
        while client.inbox.counts(who).unread_count < 702:
            pass
        assert client.within(5).inbox.mark_read(who, sent) == 1
        assert len(list(client.history(who, page_size=100))) == 702
        assert next(client.explain(sent)).event == TimelineEvent.ACCEPTED
        assert client.choices.change(who, all_off=True).all_off
        assert json.loads(b"".join(client.people.export(who)))
        assert mine.operations.books().recipients > 0
        with pytest.raises(NotFound):
            client.get("00000000-0000-8000-8000-000000000000")
        events = client.subscribe(who)
        client.close()
        with pytest.raises((ValueError, grpc.RpcError)):
            next(events)


async def test_the_same_without_asyncio(rest: Rest, feed: Caller, people: People) -> None:
    who, operator = people.stranger().user_id, str(rest.operator.token)
    async with asyncio.timeout(60):
        await asyncio.to_thread(synchronously, rest.address, str(feed.token), operator, who)
