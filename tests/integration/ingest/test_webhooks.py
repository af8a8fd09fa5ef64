"""Senders are told what becomes of what they sent: signed, again until they have it, and nobody else."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from crown import subjects
from crown.bus import Outgoing
from crown.clock import now, timestamp
from crown.ledger import Claim, Ledger
from crown.notification.v1.events_pb2 import CallbackEvent
from crown.notification.v1.types_pb2 import CallbackType, Channel, DeliveryState
from crown.store import Document
from crown.webhook_secrets import WebhookSecrets
from services.ingest.books.recorder import Recorder
from services.ingest.dead.replay import Order, Replayer
from services.ingest.dead.undertaker import Undertaker
from services.ingest.webhook import engine as webhook_engine
from services.ingest.webhook.hosts import WebhookHosts
from tests.integration.crown import conftest
from tests.integration.local import Local
from tests.integration.rig import Rig, until
from tests.receiver import Call, Receiver, receiving

quick = conftest.quick
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
async def receiver(local: Local) -> AsyncIterator[Receiver]:
    """The service feed."""
    secret = WebhookSecrets({}, local.data_key).of("feed")[0]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with receiving(listener, secret) as made:
            yield made


@pytest.fixture(scope="module")
async def recording(local: Local) -> AsyncIterator[Local]:
    """A dispatcher and a recorder work all the time."""
    async with local.dispatching(), local.working(Recorder(local.bus, local.store).run):
        yield local


@asynccontextmanager
async def telling(local: Local, hosts: str) -> AsyncIterator[None]:
    """The engine that tells senders works while the block runs."""
    parsed = WebhookHosts.parse(hosts)
    route = webhook_engine.route(parsed, WebhookSecrets({}, local.data_key))
    try:
        async with local.working(webhook_engine.engine(local.bus, local.store, parsed, route).run):
            yield
    finally:
        await route.close()


@pytest.fixture
async def working(recording: Local, receiver: Receiver, quick: None) -> AsyncIterator[Local]:
    """Everything works."""
    async with telling(recording, receiver.hosts):
        yield recording


async def called(receiver: Receiver, notification_id: str, times: int = 1) -> list[Call]:
    """The calls about a notification, once there are as many."""

    async def calls() -> list[Call]:
        return receiver.about(notification_id)

    return await until(calls, lambda found: len(found) >= times)


async def ends(local: Local, notification_id: str, state: str) -> Document:
    """The delivery of the one row of what is told about a notification, once it has this state."""

    async def delivery() -> Document:
        found = await local.db.webhooks.find_one({"notification_id": notification_id})
        return found["deliveries"]["webhook"] if found else {"state": DeliveryState.STATE_UNSPECIFIED}

    return await until(delivery, lambda found: DeliveryState.Type.Name(found["state"]) == state)


async def test_it_says_what_became_of_it(working: Local, receiver: Receiver) -> None:
    notification_id = await working.send(type="IN_APP", webhook_url=receiver.url, data={"title": "hush"})
    (call,) = await called(receiver, notification_id)
    (found,) = await working.rows(notification_id)
    assert call.body["type"] == "notification.delivery.delivered"
    assert call.body["data"] == {
        "notification_id": notification_id,
        "delivery_id": found["deliveries"]["in_app"]["id"],
        "user_id": found["user_id"],
        "channel": "IN_APP",
        "state": "DELIVERED",
        "reason": "",
        "provider": "",
        "occur_time": call.body["timestamp"],
    }
    assert call.headers["User-Agent"].startswith("Crown-Webhooks/")
    assert "hush" not in str(call)
    assert (await ends(working, notification_id, "DELIVERED_TO_PROVIDER"))["attempts"] == 1


async def test_what_nobody_asked_for_is_told_to_nobody(working: Local) -> None:
    notification_id = await working.send(type="IN_APP")
    await until(partial(working.rows, notification_id))
    await until(lambda: working.backlog(subjects.recorder()), lambda left: left == 0)
    assert await working.db.webhooks.find_one({"notification_id": notification_id}) is None


async def test_a_callback_is_told_once(working: Local, receiver: Receiver) -> None:
    notification_id = await working.send(type="EMAIL", webhook_url=receiver.url)
    (found,) = await until(partial(working.rows, notification_id))
    delivery_id = found["deliveries"]["email"]["id"]
    await Ledger(working.db).claim(Claim(delivery_id, 1, "worker", found["_id"]))
    for number, kind in enumerate(
        [CallbackType.DELIVERED, CallbackType.DELIVERED, CallbackType.DEFERRED, CallbackType.BOUNCED]
    ):
        event = CallbackEvent(
            callback_id=f"{delivery_id}{number}",
            delivery_id=delivery_id,
            channel=Channel.EMAIL,
            provider="sendgrid",
            type=kind,
            reason="5.1.1",
            occur_time=timestamp(now()),
            receive_time=timestamp(now()),
        )
        await working.bus.publish(Outgoing(subjects.callback("email"), event.SerializeToString()))
    calls = await called(receiver, notification_id, 2)
    await until(lambda: working.backlog(subjects.recorder()), lambda left: left == 0)
    assert sorted(call.state for call in calls) == ["BOUNCED", "DELIVERED"]
    assert len(receiver.about(notification_id)) == 2
    bounced = next(call for call in calls if call.state == "BOUNCED")
    assert (bounced.body["data"]["reason"], bounced.body["data"]["provider"]) == (
        "BOUNCED: 5.1.1",
        "sendgrid",
    )


async def test_it_is_told_again_until_it_is_heard(working: Local, receiver: Receiver) -> None:
    receiver.answers[:] = [(500, {}), (302, {"Location": "/elsewhere"}), (200, {})]
    notification_id = await working.send(type="IN_APP", webhook_url=receiver.url)
    calls = await called(receiver, notification_id, 3)
    assert len({call.id for call in calls}) == 1
    # A redirect is no way to have somebody else called.
    assert {call.path for call in calls} == {"/hook"}
    assert (await ends(working, notification_id, "DELIVERED_TO_PROVIDER"))["attempts"] == 3
    assert len(receiver.about(notification_id)) == 3


async def test_who_asks_for_time_gets_it_and_it_costs_no_attempt(working: Local, receiver: Receiver) -> None:
    receiver.answers[:] = [(429, {"Retry-After": "2"}), (200, {})]
    notification_id = await working.send(type="IN_APP", webhook_url=receiver.url)
    first, second = await called(receiver, notification_id, 2)
    assert second.time_s - first.time_s >= 1.5
    assert (await ends(working, notification_id, "DELIVERED_TO_PROVIDER"))["attempts"] == 1


async def test_who_is_gone_hears_no_more(working: Local, receiver: Receiver) -> None:
    receiver.answers[:] = [(410, {})]
    notification_id = await working.send(type="IN_APP", webhook_url=receiver.url)
    found = await ends(working, notification_id, "FAILED")
    assert found["reason"] == "GONE: 410"

    async def url() -> str:
        document = await working.db.notifications.find_one({"_id": notification_id})
        assert document is not None
        return str(document.get("webhook_url", ""))

    await until(url, lambda found: found == "")
    (letter,) = [
        one for one in await working.letters("webhook") if one.delivery.notification_id == notification_id
    ]
    assert letter.error == "GONE: 410"


async def test_nobody_within_is_called(recording: Local, receiver: Receiver, quick: None) -> None:
    """A name that is allowed leads to loopback: nothing connects there."""
    async with telling(recording, "feed=localhost"):
        notification_id = await recording.send(
            type="IN_APP", webhook_url=f"https://localhost/{receiver.port}"
        )
        found = await ends(recording, notification_id, "FAILED")
    assert found["reason"] == "ADDRESS_REFUSED"
    assert receiver.about(notification_id) == []


async def test_what_is_allowed_no_more_is_not_called(
    recording: Local, receiver: Receiver, quick: None
) -> None:
    async with telling(recording, "chat=127.0.0.1:9"):
        notification_id = await recording.send(type="IN_APP", webhook_url=receiver.url)
        found = await ends(recording, notification_id, "FAILED")
    assert (found["reason"], receiver.about(notification_id)) == ("ADDRESS_REFUSED", [])


async def test_a_dead_letter_is_told_when_it_is_replayed(
    recording: Local, receiver: Receiver, quick: None
) -> None:
    """The operators had forgotten to allow it."""
    async with (
        telling(recording, "chat=127.0.0.1:9"),
        recording.working(Undertaker(recording.bus, recording.store).run),
    ):
        notification_id = await recording.send(type="IN_APP", webhook_url=receiver.url)
        where = {"notification_id": notification_id}
        letter = await until(lambda: recording.db.dead_letters.find_one(where))
    assert letter is not None
    assert (letter["channel"], letter["error"]) == (Channel.WEBHOOK, "ADDRESS_REFUSED")
    assert await Replayer(recording.bus, recording.db).replay([letter], Order("olga")) == {}
    async with telling(recording, receiver.hosts):
        (call,) = await called(receiver, notification_id)
    assert call.id == letter["delivery_id"]


@pytest.mark.parametrize("place", ["delivery.after_claim", "delivery.after_send"])
async def test_a_crash_loses_nothing(
    rig: Rig, recording: Local, receiver: Receiver, quick: None, tmp_path: Path, place: str
) -> None:
    armed = tmp_path / "armed"
    armed.touch()
    sent = [await recording.send(type="IN_APP", webhook_url=receiver.url) for _ in range(5)]
    given = {"CROWN_WEBHOOK_HOSTS": receiver.hosts, "CROWN_FAILPOINT": f"{place}:{armed}"}
    async with rig.started(["-m", "services.ingest", "webhook"], "webhook", **given) as service:
        assert await service.ended() == -signal.SIGKILL
    async with telling(recording, receiver.hosts):
        for notification_id in sent:
            calls = await called(receiver, notification_id)
            assert len({call.id for call in calls}) == 1
