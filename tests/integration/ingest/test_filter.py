"""Dispatch and a filter, on real servers: what each answer does, and that everything is sent where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import pytest
import structlog

from crown.choices import Choices
from crown.clock import now
from crown.notification.v1 import filter_service_pb2, ingest_service_pb2_grpc
from crown.notification.v1.filter_service_pb2 import (
    FilterDecision,
    FilterItem,
    FilterNotificationsRequest,
    FilterNotificationsResponse,
)
from crown.notification.v1.filter_service_pb2_grpc import FilterServiceStub
from crown.notification.v1.ingest_service_pb2 import ExplainNotificationRequest
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, FilterAction, TimelineEvent
from crown.preferences import Preferences
from crown.token_file import Token
from services.ingest.dispatch.filtering import FilterClient, Filtering
from services.ingest.dispatch.history import History
from tests.integration.local import Local
from tests.integration.rig import Rig, until

EVERY = ["REAL_TIME", "PUSH", "EMAIL", "SMS", "IN_APP"]
DISTURBING = ("push", "email", "sms")
SERVICE = filter_service_pb2.DESCRIPTOR.services_by_name["FilterService"]
# Long, so that a machine that is busy lets no answer be late; where lateness is tested it is short.
LIMIT_S = 10.0

Judge = Callable[[FilterItem], FilterDecision | None]


def send(item: FilterItem) -> FilterDecision:
    return FilterDecision(item_id=item.item_id, action=FilterAction.SEND, score=1.0)


def drop(item: FilterItem) -> FilterDecision:
    return FilterDecision(item_id=item.item_id, action=FilterAction.DROP, reason="BORING", score=0.1)


def hold(item: FilterItem, hours: float = 3) -> FilterDecision:
    made = FilterDecision(item_id=item.item_id, action=FilterAction.HOLD)
    made.better_time.FromDatetime(now() + timedelta(hours=hours))
    return made


@dataclass
class Fake:
    """A filter that does what a test wants."""

    judge: Judge = send
    # Given: the whole answer, as it goes over the wire.
    raw: bytes | None = None
    wait_s: float = 0.0
    code: grpc.StatusCode | None = None
    asked: list[FilterNotificationsRequest] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    port: int = 0
    _server: grpc.aio.Server | None = None

    @property
    def items(self) -> list[FilterItem]:
        """All that it was asked about."""
        return [item for request in self.asked for item in request.items]

    async def start(self) -> None:
        """Listens where it listened before."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._answer)
        wrapped = grpc.method_handlers_generic_handler(SERVICE.full_name, {"FilterNotifications": handler})
        self._server.add_generic_rpc_handlers((wrapped,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Is away."""
        if self._server is not None:
            await self._server.stop(0)

    async def _answer(self, raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        request = FilterNotificationsRequest.FromString(raw)
        self.asked.append(request)
        self.metadata = {str(k): str(v) for k, v in context.invocation_metadata() or ()}
        await asyncio.sleep(self.wait_s)
        if self.code is not None:
            await context.abort(self.code, "no")
        if self.raw is not None:
            return self.raw
        found = [decision for item in request.items if (decision := self.judge(item)) is not None]
        return FilterNotificationsResponse(decisions=found).SerializeToString()


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    made = Fake()
    await made.start()
    yield made
    await made.stop()


@asynccontextmanager
async def filtered(local: Local, fake: Fake, limit_s: float = LIMIT_S) -> AsyncIterator[None]:
    """A dispatcher that asks the fake."""
    client = FilterClient(f"127.0.0.1:{fake.port}", Token("secret", None), limit_s)
    async with local.dispatching(Filtering(client, local.rig.redis, local.db, local.data_key)):
        yield
    await client.close()


async def states(local: Local, notification_id: str) -> dict[str, tuple[str, str]]:
    (row,) = await until(lambda: local.rows(notification_id))
    return {
        channel: (DeliveryState.Type.Name(found["state"]), found["reason"])
        for channel, found in row["deliveries"].items()
    }


# -- what each answer does


async def test_what_is_dropped_goes_nowhere(local: Local, fake: Fake) -> None:
    fake.judge = drop
    person = local.somebody()
    async with filtered(local, fake):
        notification_id = await local.send(user_id=person, channels=EVERY)
        found = await states(local, notification_id)
        await local.dispatched()
    assert set(found.values()) == {("SUPPRESSED", "FILTERED: BORING")}
    (row,) = await local.rows(notification_id)
    assert (row["open"], row.get("unread")) == ([], None)
    assert await local.live(person) == []
    assert await local.delivered("push", notification_id) == []


async def test_what_is_held_waits_and_is_shown(local: Local, fake: Fake) -> None:
    fake.judge = hold
    async with filtered(local, fake):
        notification_id = await local.send(channels=EVERY)
        found = await states(local, notification_id)
        await local.dispatched()
    assert {found[channel] for channel in DISTURBING} == {("DEFERRED", "FILTER_HOLD")}
    assert {found[channel] for channel in ("in_app", "real_time")} == {("DELIVERED", "")}
    (row,) = await local.rows(notification_id)
    assert row["open"] == []
    assert row["wake_time"] == row["deliveries"]["push"]["due_time"]
    assert timedelta(hours=2) < row["wake_time"] - now() < timedelta(hours=3)
    assert await local.delivered("push", notification_id) == []


async def test_a_better_channel_takes_the_place_of_others(local: Local, fake: Fake) -> None:
    def better(item: FilterItem) -> FilterDecision:
        made = send(item)
        # The person does not want texts, and nobody asked for them here.
        made.better_channels.extend([Channel.EMAIL, Channel.SMS])
        return made

    fake.judge = better
    person = local.somebody()
    await Preferences(local.db).replace(person, Choices({"activity": {"sms": False}}))
    async with filtered(local, fake):
        notification_id = await local.send(user_id=person, channels=EVERY)
        found = await states(local, notification_id)
    assert found["email"] == ("PENDING", "")
    assert found["push"] == ("SUPPRESSED", "FILTERED: BETTER_CHANNEL")
    assert found["sms"][0] == "SUPPRESSED"
    assert "FILTERED" not in found["sms"][1]
    (item,) = fake.items
    assert Channel.SMS not in item.channels


async def test_the_timeline_tells_what_a_filter_decided(rig: Rig, local: Local, fake: Fake) -> None:
    fake.judge = lambda item: drop(item) if item.kind == "like" else hold(item)
    async with filtered(local, fake):
        dropped = await local.send(type="PUSH", kind="like")
        held = await local.send(type="PUSH", kind="comment")
        await until(lambda: local.rows(dropped))
        await until(lambda: local.rows(held))
    async with rig.running("api") as api:
        stub = ingest_service_pb2_grpc.IngestServiceStub(api.channel)
        metadata = (("authorization", f"Bearer {rig.token()}"),)

        async def decided(notification_id: str) -> list[tuple[str, str]]:
            request = ExplainNotificationRequest(notification_id=notification_id)
            answer = await stub.ExplainNotification(request, metadata=metadata, timeout=10)
            return [
                (DeliveryState.Type.Name(entry.state), entry.reason)
                for entry in answer.entries
                if entry.event == TimelineEvent.DECIDED
            ]

        assert await decided(dropped) == [("SUPPRESSED", "FILTERED: BORING")]
        assert await decided(held) == [("DEFERRED", "FILTER_HOLD")]


# -- what it is asked


async def test_it_hears_ids_and_hashes_and_no_content(local: Local, fake: Fake) -> None:
    person, secret = local.somebody(), "canary-of-the-filter"
    data = {"title": secret, "message": secret, "extra": {"a": secret, "b": 1}}
    given: dict[str, Any] = {"user_id": person, "data": data, "group_key": secret, "actor": {"name": secret}}
    async with filtered(local, fake):
        first = await local.send(type="PUSH", kind="comment", **given)
        await until(lambda: local.rows(first))
        second = await local.send(type="PUSH", kind="comment", **given)
        await until(lambda: local.rows(second))
        third = await local.send(type="PUSH", kind="comment", **{**given, "data": {"title": "else"}})
        await until(lambda: local.rows(third))
    one, two, three = fake.items
    assert (one.notification_id, one.user_id, one.sender, one.kind) == (first, person, "feed", "comment")
    assert (one.category, list(one.channels)) == (Category.ACTIVITY, [Channel.PUSH])
    assert len({item.item_id for item in fake.items}) == 3
    assert one.content_hash == two.content_hash != three.content_hash
    assert one.group_hash == two.group_hash != b""
    assert one.actor_hash == two.actor_hash != b""
    assert [(item.history.sent_last_hour, item.history.same_last_day) for item in fake.items] == [
        (0, 0),
        (1, 1),
        (2, 0),
    ]
    assert secret.encode() not in b"".join(request.SerializeToString() for request in fake.asked)
    assert fake.metadata["authorization"] == "Bearer secret"


async def test_it_is_never_asked_about_security_or_what_is_critical(local: Local, fake: Fake) -> None:
    fake.judge = drop
    async with filtered(local, fake):
        sent = [
            await local.send(type="PUSH", kind="login_alert"),
            await local.send(type="PUSH", kind="comment", priority="CRITICAL"),
            await local.send(type="PUSH", category="SECURITY", priority="NORMAL"),
        ]
        for notification_id in sent:
            assert await states(local, notification_id) == {"push": ("PENDING", "")}
    assert fake.asked == []


async def test_what_goes_nowhere_anyway_is_not_asked_about(local: Local, fake: Fake) -> None:
    person = local.somebody()
    await Preferences(local.db).replace(person, Choices({"activity": {"push": False}}))
    async with filtered(local, fake):
        notification_id = await local.send(user_id=person, type="PUSH")
        await until(lambda: local.rows(notification_id))
    assert fake.asked == []


async def test_a_call_for_a_thousand_and_not_one_for_each(local: Local, fake: Fake) -> None:
    fake.judge = lambda item: drop(item) if item.user_id.endswith("7") else send(item)
    people = [f"many-{n}" for n in range(2_500)]
    async with filtered(local, fake):
        notification_id = await local.send(user_ids=people, type="PUSH")
        where = {"notification_id": notification_id}
        await until(lambda: local.db.ledger.count_documents(where), lambda count: count == 2_500, 30)
    assert sorted(item.user_id for item in fake.items) == sorted(people)
    assert len(fake.asked) <= 4
    assert max(len(request.items) for request in fake.asked) <= 1_000
    dropped = {**where, "deliveries.push.reason": "FILTERED: BORING"}
    assert await local.db.ledger.count_documents(dropped) == 250


async def test_how_much_somebody_reads_comes_from_the_ledger(local: Local, fake: Fake) -> None:
    person = local.somebody()
    async with local.dispatching():
        old = [await local.send(user_id=person, type="IN_APP", kind="comment") for _ in range(4)]
        await local.send(user_id=person, type="IN_APP", kind="follow")
        await local.dispatched()
    past = {"create_time": now() - timedelta(hours=2)}
    await local.db.ledger.update_many({"user_id": person}, {"$set": past})
    await local.db.ledger.update_one({"notification_id": old[0]}, {"$set": {"read_time": now()}})
    # Has not had its chance yet.
    await local.db.ledger.update_one({"notification_id": old[1]}, {"$set": {"create_time": now()}})
    async with filtered(local, fake):
        await until(lambda: _asked(local, fake, person))
    (item,) = fake.items
    assert (item.history.shown_lately, item.history.read_lately) == (3, 1)


async def _asked(local: Local, fake: Fake, person: str) -> bool:
    if not fake.asked:
        await local.send(user_id=person, type="PUSH", kind="comment")
        await local.dispatched()
    return bool(fake.asked)


async def test_of_who_gets_a_lot_no_more_than_the_last_is_kept(local: Local) -> None:
    history = History(local.rig.redis, local.db)
    person, present = local.somebody(), now()
    for count in (150, 100, 1):
        pasts = await history.load([person], present)
        for _ in range(count):
            pasts[person].add(b"same", present)
        await history.note(pasts, [(person, b"same")] * count, present)
    past = (await history.load([person], present))[person]
    assert len(past.sends) == 101
    facts = past.facts(Category.ACTIVITY, b"same", present)
    assert (facts.sent_last_hour, facts.sent_last_day, facts.same_last_day) == (100, 100, 100)
    later = past.facts(Category.ACTIVITY, b"same", present + timedelta(hours=2))
    assert (later.sent_last_hour, later.sent_last_day) == (0, 100)
    assert past.facts(Category.ACTIVITY, b"same", present + timedelta(days=1)).ListFields() == []


async def test_without_redis_nothing_is_known_and_all_goes_on(local: Local, fake: Fake) -> None:
    async with filtered(local, fake), local.rig.suspended("valkey"):
        notification_id = await local.send(type="PUSH")
        assert await states(local, notification_id) == {"push": ("PENDING", "")}
    (item,) = fake.items
    assert item.history.ListFields() == []


# -- answers that are none


def stranger(_item: FilterItem) -> FilterDecision:
    return FilterDecision(item_id="somebody else's", action=FilterAction.DROP, reason="X")


def timeless(item: FilterItem) -> FilterDecision:
    return FilterDecision(item_id=item.item_id, action=FilterAction.HOLD)


def nameless(_item: FilterItem) -> FilterDecision:
    return FilterDecision(action=FilterAction.DROP, reason="X")


@pytest.mark.parametrize(
    "given",
    [
        {"raw": b""},
        {"raw": b"\xff\xff\xff garbage"},
        {"judge": stranger},
        {"judge": timeless},
        {"judge": nameless},
        {"judge": lambda _item: None},
        {"code": grpc.StatusCode.PERMISSION_DENIED},
        {"code": grpc.StatusCode.INTERNAL},
    ],
    ids=["empty", "garbage", "a stranger", "no time", "no id", "nothing", "no right", "an error"],
)
async def test_what_is_no_answer_holds_nothing_up(local: Local, given: dict[str, Any]) -> None:
    fake = Fake(**given)
    await fake.start()
    async with filtered(local, fake):
        notification_id = await local.send(channels=["PUSH", "IN_APP"])
        assert await states(local, notification_id) == {"push": ("PENDING", ""), "in_app": ("DELIVERED", "")}
    await fake.stop()
    assert len(fake.asked) == 1


# -- slow, away, and back


async def test_a_slow_filter_is_not_waited_for_and_then_left_alone(local: Local, fake: Fake) -> None:
    fake.wait_s, fake.judge = 60.0, drop
    loop = asyncio.get_running_loop()
    with structlog.testing.capture_logs() as logged:
        async with filtered(local, fake, limit_s=0.05):
            began = loop.time()
            for _ in range(6):
                notification_id = await local.send(type="PUSH")
                assert await states(local, notification_id) == {"push": ("PENDING", "")}
            took_s = loop.time() - began
    # Six orders one after the other: the wait of an answer is nowhere in it.
    assert took_s < 30
    assert len(fake.asked) == 3
    assert [line["event"] for line in logged if line["event"].startswith("filter")] == ["filter_away"]


async def test_a_filter_that_is_away_is_asked_again_when_it_is_back(local: Local, fake: Fake) -> None:
    fake.judge = drop
    await fake.stop()

    async def end() -> str:
        notification_id = await local.send(type="PUSH")
        return (await states(local, notification_id))["push"][1]

    with structlog.testing.capture_logs() as logged:
        async with filtered(local, fake):
            assert [await end() for _ in range(4)] == [""] * 4
            await fake.start()
            await until(end, lambda reason: reason == "FILTERED: BORING")
    told = [line["event"] for line in logged if line["event"].startswith("filter")]
    assert told == ["filter_away", "filter_back"]


# -- the suite's own


async def test_the_suite_s_own_filter_and_dispatch_as_processes(rig: Rig, local: Local) -> None:
    token = rig.token("dispatch", scopes=["notifications.filter"])
    async with rig.running("filter", CROWN_FILTER_PER_HOUR="3") as own:
        told = {
            "CROWN_FILTER_ADDRESS": f"127.0.0.1:{own.port}",
            "CROWN_FILTER_TOKEN": token,
            "CROWN_FILTER_TIMEOUT_MS": "5000",
        }
        async with rig.running("dispatch", **told) as dispatch:
            person = local.somebody()
            found = []
            for title in ("a", "a", "b", "c", "d"):
                notification_id = await local.send(user_id=person, type="PUSH", data={"title": title})
                found.append((await states(local, notification_id))["push"])
            assert await dispatch.metric("crown_filter_answers_total", action="DROP") == 1
            assert await dispatch.metric("crown_filter_seconds_count", outcome="answered") == 5
    assert found == [
        ("PENDING", ""),
        ("SUPPRESSED", "FILTERED: DUPLICATE"),
        ("PENDING", ""),
        ("PENDING", ""),
        ("DEFERRED", "FILTER_HOLD"),
    ]


@pytest.mark.parametrize(
    ("scopes", "items", "code"),
    [
        (["notifications.send"], 1, "PERMISSION_DENIED"),
        (["notifications.filter"], 0, "INVALID_ARGUMENT"),
        (["notifications.filter"], 1_001, "INVALID_ARGUMENT"),
        (["notifications.filter"], 1_000, "OK"),
    ],
    ids=["another scope", "none", "too many", "as many as may be"],
)
async def test_whom_the_suite_s_own_filter_answers(
    own: grpc.aio.Channel, rig: Rig, scopes: list[str], items: int, code: str
) -> None:
    asked = FilterNotificationsRequest(items=[FilterItem(item_id=f"{n:0165}") for n in range(items)])
    metadata = (("authorization", f"Bearer {rig.token('dispatch', scopes=scopes)}"),)
    call = FilterServiceStub(own).FilterNotifications(asked, metadata=metadata, timeout=10)
    assert (await call.code()).name == code
    if code == "OK":
        assert len((await call).decisions) == items


@pytest.fixture(scope="module")
async def own(rig: Rig) -> AsyncIterator[grpc.aio.Channel]:
    async with rig.running("filter") as service:
        yield service.channel
