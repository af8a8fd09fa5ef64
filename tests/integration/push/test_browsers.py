"""Browsers from the intake to their push service: registered, counted for, encrypted, tried again, forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from crown import backoff, ids
from crown.clock import now
from crown.delivery import Engine
from crown.desk import PersonDesk
from crown.egress import Egress
from crown.http import Http
from crown.ledger import Ledger
from crown.notification.v1.types_pb2 import Channel, Platform
from crown.outcome import Delivered, Outcome
from crown.people import People
from crown.recipients import Destination, Device, Recipients
from crown.rendering import Links
from crown.route import Route
from crown.unread import Unread
from services.push.message import Message, collapse_id
from services.push.push import Push
from services.push.together import Gone
from services.push.web_push.provider import WebPush
from services.push.web_push.vapid import Vapid
from tests.integration.local import Local
from tests.integration.rig import until
from tests.unit.services.push.push_service import Browser, PushService, opened


class Apps:
    """Takes everything, as Firebase does on a good day, and keeps it."""

    def __init__(self) -> None:
        self.sent: list[tuple[Message, str]] = []

    async def send(self, message: Message, places: Sequence[Destination]) -> list[Outcome | Gone]:
        self.sent += [(message, place.address) for place in places]
        return [Delivered("m") for _ in places]

    async def close(self) -> None:
        pass


@dataclass
class Office:
    """A dispatcher, and an engine with a push provider."""

    local: Local
    recipients: Recipients
    apps: Apps
    service: PushService

    async def browser(self, person: str) -> Browser:
        """A browser that the person has registered."""
        browser = Browser(f"{self.service.url}/push/{person}")
        place = browser.destination
        await self.register(
            person,
            place.address,
            kind=place.kind,
            p256dh=place.p256dh,
            auth=place.auth,
            platform=Platform.WEB,
        )
        return browser

    async def register(self, person: str, token: str, **given: Any) -> None:
        """A device that the person has registered."""
        usual = {"kind": 1, "platform": Platform.ANDROID, "create_time": now(), "last_seen_time": now()}
        await self.recipients.put_device(Device(ids.device(token), person, token, **{**usual, **given}))


@pytest.fixture
async def office(local: Local, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setattr(backoff, "delay_s", lambda *_: 0.3)
    recipients = Recipients(local.db, People(local.db, local.data_key))
    apps = Apps()
    async with opened() as service:
        egress = Egress.of([service.host])
        vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), "mailto:ops@crown.example")
        web_push = WebPush(Http(egress=egress), egress, vapid)
        links = Links("https://crown.example", ("crown.example",))
        push = Push("fcm", apps, web_push, links, Unread(local.db).count, recipients.forget_devices)
        desk = PersonDesk(Channel.PUSH, local.db, local.data_key)
        route = Route([push])
        engine = Engine(Channel.PUSH, route, desk, local.bus, local.store, Ledger(local.db), 8)
        async with local.dispatching(), local.working(engine.run):
            yield Office(local, recipients, apps, service)
        await route.close()


async def test_it_arrives_with_the_badge(office: Office) -> None:
    person = office.local.somebody()
    browser = await office.browser(person)
    await office.register(person, f"token-{person}")
    data = {"title": "Hi", "action_url": "/m/1", "extra": {"thread": 7}}
    sent = await office.local.send(
        channels=["PUSH", "IN_APP"], user_id=person, data=data, collapse_key="score"
    )
    await office.local.becomes(sent, "push", "DELIVERED_TO_PROVIDER")
    ((_, headers, body),) = office.service.asked
    found = browser.read(body)
    assert (found["title"], found["notification_id"], found["badge"]) == ("Hi", sent, 1)
    assert (found["link"], found["extra"]) == ("https://crown.example/m/1", {"thread": 7})
    assert found["tag"] == headers["Topic"] == collapse_id("score")
    ((message, token),) = office.apps.sent
    assert (token, message.badge, message.collapse_id) == (f"token-{person}", 1, found["tag"])


async def test_only_who_has_not_got_it_is_tried_again(office: Office) -> None:
    person = office.local.somebody()
    await office.browser(person)
    await office.register(person, f"token-{person}")
    office.service.status = 503
    sent = await office.local.send(type="PUSH", user_id=person)
    await office.local.becomes(sent, "push", "RETRYING")
    office.service.status = 201
    await office.local.becomes(sent, "push", "DELIVERED_TO_PROVIDER")
    assert len(office.apps.sent) == 1
    assert len(office.service.asked) >= 2


async def test_a_subscription_that_ended_is_forgotten(office: Office) -> None:
    person = office.local.somebody()
    await office.browser(person)
    office.service.status = 410
    sent = await office.local.send(type="PUSH", user_id=person)
    assert await office.local.becomes(sent, "push", "FAILED") == "UNREGISTERED: 410"
    assert await office.recipients.devices(person) == []
    again = await office.local.send(type="PUSH", user_id=person)
    assert await office.local.becomes(again, "push", "SUPPRESSED") == "NO_ADDRESS"
    assert len(office.service.asked) == 1


async def test_who_took_the_phone_over_gets_nothing_of_the_first(office: Office) -> None:
    ann, bob = office.local.somebody(), office.local.somebody()
    token = f"shared-{ann}"
    await office.register(ann, token)
    await office.register(bob, token)
    sent = await office.local.send(type="PUSH", user_id=ann)
    assert await office.local.becomes(sent, "push", "SUPPRESSED") == "NO_ADDRESS"
    await office.local.becomes(
        await office.local.send(type="PUSH", user_id=bob), "push", "DELIVERED_TO_PROVIDER"
    )
    assert [address for _, address in office.apps.sent] == [token]


async def test_too_large_for_any_device(office: Office) -> None:
    person = office.local.somebody()
    await office.browser(person)
    sent = await office.local.send(
        type="PUSH", user_id=person, data={"title": "Hi", "extra": {"x": "x" * 4_000}}
    )

    async def ended() -> tuple[str, str]:
        return await office.local.state(sent, "push")

    state, reason = await until(ended, lambda found: found[0] in {"FAILED", "DELIVERED_TO_PROVIDER"})
    assert state == "FAILED"
    assert reason.startswith("PAYLOAD_TOO_LARGE: ")
    assert office.service.asked == []
