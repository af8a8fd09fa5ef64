"""What the client calls, by both halves: the requests that its methods make, and what is tried again."""

from __future__ import annotations

import asyncio
import inspect
import random
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

import crown.client
import crown.client.sync
from crown.client import ALL, Client, draft
from crown.client.calls import Patience
from crown.client.chosen import whole
from crown.errors import NotFound, OutcomeUnknown, Stale
from crown.notification.v1 import dead_letter_service_pb2 as dead_letters
from crown.notification.v1 import email_service_pb2 as emails
from crown.notification.v1 import group_service_pb2 as groups
from crown.notification.v1 import inbox_service_pb2 as inbox
from crown.notification.v1 import ingest_service_pb2 as ingest
from crown.notification.v1 import preference_service_pb2 as preferences
from crown.notification.v1 import realtime_service_pb2 as realtime
from crown.notification.v1 import schedule_service_pb2 as schedules
from crown.notification.v1 import suppression_service_pb2 as suppressions
from crown.notification.v1 import template_service_pb2 as templates
from crown.notification.v1.preference_pb2 import FrequencyCap, NotificationPreferences, QuietHours
from crown.notification.v1.template_service_pb2 import TemplateText
from crown.notification.v1.timeline_pb2 import TimelineEntry
from crown.notification.v1.types_pb2 import Channel, Span
from tests.unit.crown.suite import _FILES, Break, Suite

QUICK = Patience(call_s=2.0, attempt_s=1.0)
# What others call: browsers, and providers.
NOT_OURS = {"Stream"}
Do = Callable[[Client], Any]


async def played(half: str, suite: Suite, do: Do) -> Any:
    """What `do` answers with a client of this half; lists for what is iterated over."""
    options: dict[str, Any] = {"token": "t", "patience": QUICK, "chance": random.Random(1)}

    def synchronously(address: str) -> Any:
        with crown.client.sync.Client(address, **options) as client:
            found = do(client)  # type: ignore[arg-type]
            return list(found) if inspect.isgenerator(found) else found

    async with suite.serving() as address:
        if half == "sync":
            return await asyncio.to_thread(synchronously, address)
        async with Client(address, **options) as client:
            found = do(client)
            return [one async for one in found] if inspect.isasyncgen(found) else await found


@pytest.fixture(params=["async", "sync"])
def half(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_every_call_of_the_contract_has_a_method() -> None:
    folder = Path(crown.client.__file__).parent
    called = set(re.findall(r"self\._\w+\.([A-Z]\w+)\b", "".join(f.read_text() for f in folder.glob("*.py"))))
    promised = {
        method.name
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert promised - called == NOT_OURS
    assert called <= promised


TWICE: dict[str, tuple[Do, Any]] = {
    "mark read": (lambda to: to.inbox.mark_read("ann", ["n1"]), inbox.MarkReadResponse(marked=1)),
    "add": (lambda to: to.groups.add("g", ["ann"]), groups.AddMembersResponse(added=1)),
    "replay": (lambda to: to.dead_letters.replay("d"), dead_letters.ReplayDeadLetterResponse()),
    "cancel": (lambda to: to.cancel("n1"), ingest.CancelNotificationResponse()),
    "change": (
        lambda to: to.choices.change("ann", all_off=True),
        preferences.PatchNotificationPreferencesResponse(),
    ),
}
ONCE: dict[str, Do] = {
    "publish": lambda to: to.live.publish("user:ann", "typing", {}),
    "put a template": lambda to: to.templates.put("t", {"en": TemplateText(text="Hi")}),
    "delete a schedule": lambda to: to.schedules.delete("s"),
    "replace with an etag": lambda to: to.choices.replace("ann", NotificationPreferences(etag="e")),
    "change with an etag": lambda to: to.choices.change("ann", etag="e", all_off=True),
}
KEYED: dict[str, tuple[Do, Any]] = {
    "e-mail": (lambda to: to.direct.email("a@example.org", title="Hi"), emails.SendEmailResponse()),
    "create a schedule": (
        lambda to: to.schedules.create("0 9 * * *", draft(user_id="ann", title="Hi")),
        schedules.CreateScheduleResponse(),
    ),
    "run a schedule": (lambda to: to.schedules.run("s"), schedules.RunScheduleResponse()),
}


@pytest.mark.parametrize("name", TWICE)
async def test_what_twice_is_once_is_tried_again(half: str, name: str) -> None:
    do, answer = TWICE[name]
    suite = Suite(Break(), answer)
    await played(half, suite, do)
    assert len(suite.calls) == 2


@pytest.mark.parametrize("name", ONCE)
async def test_what_twice_is_twice_is_not(half: str, name: str) -> None:
    suite = Suite(Break())
    with pytest.raises(OutcomeUnknown):
        await played(half, suite, ONCE[name])
    assert len(suite.calls) == 1


@pytest.mark.parametrize("name", KEYED)
async def test_what_has_a_key_keeps_it(half: str, name: str) -> None:
    do, answer = KEYED[name]
    suite = Suite(Break(), answer)
    await played(half, suite, do)
    first, second = (request.idempotency_key for request in suite.requests)
    assert first == second != ""


# Long enough for a machine that is busy with other things.
@pytest.mark.parametrize("seconds", [30.0, 60.0])
async def test_within_is_the_time_of_the_whole_call(half: str, seconds: float) -> None:
    suite = Suite(Break(), inbox.GetUnreadCountResponse(unread_count=2, unseen_count=1))
    found = await played(half, suite, lambda to: to.within(seconds).inbox.counts("ann"))
    assert (found.unread_count, found.unseen_count) == (2, 1)
    assert all(0 < (left or 0) <= seconds for _, _, _, left in suite.calls)


async def test_which_entries_are_meant(half: str) -> None:
    suite = Suite(
        inbox.DeleteNotificationsResponse(changed=1),
        inbox.DeleteNotificationsResponse(changed=2),
        inbox.DeleteNotificationsResponse(changed=3),
    )
    assert await played(half, suite, lambda to: to.inbox.delete("ann", "n1")) == 1
    assert await played(half, suite, lambda to: to.inbox.delete("ann", ["n1", "n2"])) == 2
    assert await played(half, suite, lambda to: to.inbox.delete("ann", ALL)) == 3
    one, several, everything = suite.requests
    assert (one.notification_id, list(one.notification_ids), one.all) == ("n1", [], False)
    assert (several.notification_id, list(several.notification_ids), several.all) == ("", ["n1", "n2"], False)
    assert (everything.notification_id, list(everything.notification_ids), everything.all) == ("", [], True)


async def test_a_change_names_what_it_changes(half: str) -> None:
    suite = Suite(preferences.PatchNotificationPreferencesResponse(user_id="ann", etag="e2"))
    hours = [QuietHours(start="22:00", end="07:00")]
    caps = [FrequencyCap(channel=Channel.SMS, most=3, per=Span.DAY)]
    found = await played(
        half, suite, lambda to: to.choices.change("ann", etag="e1", quiet_hours=hours, caps=caps)
    )
    (request,) = suite.requests
    assert sorted(request.update_mask.paths) == ["caps", "quiet_hours"]
    assert list(request.preferences.quiet_hours) == hours
    assert request.preferences.etag == "e1"
    assert isinstance(found, NotificationPreferences)
    assert found.etag == "e2"


@pytest.mark.parametrize("rpc", ["Get", "Update", "Patch"])
def test_answers_have_the_fields_of_preferences(rpc: str) -> None:
    kind = getattr(preferences, f"{rpc}NotificationPreferencesResponse")
    mine = {(f.name, f.number, f.type) for f in NotificationPreferences.DESCRIPTOR.fields}
    assert {(f.name, f.number, f.type) for f in kind.DESCRIPTOR.fields} == mine
    assert whole(kind(user_id="ann", all_off=True)) == NotificationPreferences(user_id="ann", all_off=True)


async def test_a_stale_etag_is_told(half: str) -> None:
    suite = Suite(Stale("somebody was faster"))
    with pytest.raises(Stale):
        await played(half, suite, lambda to: to.choices.change("ann", etag="old", all_off=True))
    assert len(suite.calls) == 1


async def test_many_people_go_in_calls_of_a_thousand(half: str) -> None:
    suite = Suite(groups.AddMembersResponse(added=1_000), groups.AddMembersResponse(added=500))
    people = [f"u{number}" for number in range(1_500)]
    assert await played(half, suite, lambda to: to.groups.add("g", people)) == 1_500
    assert [len(request.user_ids) for request in suite.requests] == [1_000, 500]


async def test_pages_are_followed(half: str) -> None:
    pages = [
        ingest.ExplainNotificationResponse(entries=[TimelineEntry(reason="A")], next_cursor="c"),
        ingest.ExplainNotificationResponse(entries=[TimelineEntry(reason="B")]),
    ]
    suite = Suite(*pages)
    found = await played(half, suite, lambda to: to.explain("n1"))
    assert [entry.reason for entry in found] == ["A", "B"]
    assert [request.cursor for request in suite.requests] == ["", "c"]


async def test_a_stream_that_breaks_raises(half: str) -> None:
    suite = Suite(groups.StreamMembersResponse(members=[groups.Member(user_id="ann")]), Break())
    with pytest.raises(OutcomeUnknown):
        await played(half, suite, lambda to: to.groups.stream_members("g"))


async def test_an_address_that_is_not_suppressed_is_none(half: str) -> None:
    suite = Suite(
        NotFound("it is not"),
        suppressions.LookUpSuppressionResponse(suppression=suppressions.Suppression(source="x")),
    )
    look: Do = lambda to: to.suppressions.look_up(Channel.EMAIL, "a@example.org")  # noqa: E731
    assert await played(half, suite, look) is None
    assert (await played(half, suite, look)).source == "x"


async def test_a_version_that_is_not_given_is_not_sent(half: str) -> None:
    suite = Suite(templates.GetTemplateResponse(), templates.GetTemplateResponse())
    await played(half, suite, lambda to: to.templates.get("t"))
    await played(half, suite, lambda to: to.templates.get("t", 0))
    assert [request.HasField("version") for request in suite.requests] == [False, True]


async def test_events_for_a_person_go_to_their_topic(half: str) -> None:
    suite = Suite(realtime.PublishResponse(offset=7), realtime.PublishResponse())
    assert await played(half, suite, lambda to: to.publish("ann", "typing", {"who": "bob"})) == 7
    await played(half, suite, lambda to: to.live.publish("chat:c", "typing", {}, ephemeral=True))
    assert [(request.topic, request.ephemeral) for request in suite.requests] == [
        ("user:ann", False),
        ("chat:c", True),
    ]


async def test_a_token_source_must_answer_at_once_without_asyncio() -> None:
    suite = Suite(inbox.GetUnreadCountResponse())

    def run(address: str) -> None:
        with crown.client.sync.Client(address, token_source=lambda: "mine") as client:
            client.inbox.counts("ann")

    async with suite.serving() as address:
        await asyncio.to_thread(run, address)
    assert suite.calls[0][2]["authorization"] == "Bearer mine"


async def test_threads_share_a_client() -> None:
    suite = Suite(*[inbox.GetUnreadCountResponse(unread_count=1)] * 20)

    async with suite.serving() as address:
        with crown.client.sync.Client(address, token="t") as client:
            counts: list[Awaitable[Any]] = [asyncio.to_thread(client.inbox.counts, "ann") for _ in range(20)]
            assert [found.unread_count for found in await asyncio.gather(*counts)] == [1] * 20


def test_both_halves_have_the_same_methods_and_signatures() -> None:
    with crown.client.sync.Client("127.0.0.1:1") as synchronous:
        parts = {name: part for name, part in vars(synchronous).items() if not name.startswith("_")}
        assert parts
        pairs = [(Client, type(synchronous))]
        for name, part in parts.items():
            pairs.append((getattr(crown.client, name).__dict__[type(part).__name__], type(part)))
    for left, right in pairs:
        for name, method in inspect.getmembers(left, inspect.isfunction):
            if not name.startswith("_"):
                assert _parameters(method) == _parameters(getattr(right, name)), (left, name)


def _parameters(method: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(method).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


def test_the_other_half_speaks_without_an_event_loop() -> None:
    with crown.client.sync.Client("127.0.0.1:1") as client:
        assert isinstance(client._channel, grpc.Channel)
