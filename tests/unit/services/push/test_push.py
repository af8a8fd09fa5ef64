"""What a device is decides how it is reached; what comes of it is put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import pytest
from pymongo.errors import AutoReconnect

from crown import ids
from crown.notification.v1.types_pb2 import DeviceKind
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.recipients import Destination
from crown.rendering import Links
from services.push.message import Message
from services.push.push import Push
from services.push.together import Gone

Make = Callable[..., Attempt]
APP = Destination("app", "token-1")
IOS = Destination("ios", "fid-1", DeviceKind.FID)
WEB = Destination("web", "https://push.example.org/1", DeviceKind.WEB_PUSH, p256dh="p", auth="a")


class Scripted:
    """A carrier that answers what it is told."""

    def __init__(self) -> None:
        self.results: dict[str, Outcome | Gone] = {}
        self.carried: list[tuple[Message, list[str]]] = []
        self.closed = False

    async def send(self, message: Message, places: Sequence[Destination]) -> list[Outcome | Gone]:
        self.carried.append((message, [place.id for place in places]))
        return [self.results.get(place.id, Delivered(place.id)) for place in places]

    async def close(self) -> None:
        self.closed = True


class Store:
    """Counts, and keeps what was forgotten."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.counted: list[str] = []
        self.away = False
        self.slow = False

    async def badge(self, user_id: str) -> int:
        self.counted.append(user_id)
        if self.away:
            raise AutoReconnect("away")
        if self.slow:
            await asyncio.sleep(60)
        return 5

    async def forget(self, device_ids: Collection[str]) -> None:
        self.forgotten += device_ids


@pytest.fixture
def fcm() -> Scripted:
    return Scripted()


@pytest.fixture
def browsers() -> Scripted:
    return Scripted()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def push(fcm: Scripted, browsers: Scripted, store: Store, links: Links) -> Push:
    return Push("fcm", fcm, browsers, links, store.badge, store.forget)


async def test_the_device_decides(push: Push, fcm: Scripted, browsers: Scripted, attempt: Make) -> None:
    assert await push.send(attempt(APP, WEB, IOS)) == Delivered("app")
    assert [places for _, places in fcm.carried] == [["app", "ios"]]
    assert [places for _, places in browsers.carried] == [["web"]]


@pytest.mark.parametrize(("places", "by"), [([APP], (1, 0)), ([WEB], (0, 1))], ids=["apps", "browsers"])
async def test_only_who_is_needed_is_asked(
    push: Push,
    fcm: Scripted,
    browsers: Scripted,
    attempt: Make,
    places: list[Destination],
    by: tuple[int, int],
) -> None:
    assert isinstance(await push.send(attempt(*places)), Delivered)
    assert (len(fcm.carried), len(browsers.carried)) == by


@pytest.mark.parametrize(
    ("app", "web", "expected"),
    [
        (Retry("503", 9.0), Delivered(), Retry("503", 9.0, ("web",))),
        # A browser's push service says nothing of Firebase.
        (Delivered(), Snooze("429", 7.0), Snooze("429", 7.0, ("app",), alone=True)),
        (Delivered(), Retry("500", 3.0), Retry("500", 3.0, ("app",), alone=True)),
        (Delivered(), Unknown("TIMEOUT"), Unknown("TIMEOUT", ("app",), alone=True)),
        (Snooze("QUOTA_EXCEEDED", 9.0), Snooze("429", 7.0), Snooze("QUOTA_EXCEEDED", 9.0)),
        (Unknown("TIMEOUT"), Retry("500"), Unknown("TIMEOUT", ())),
        (Gone("404"), Delivered("m"), Delivered("m")),
        (Gone("UNREGISTERED"), Gone("410"), Discard("UNREGISTERED", "UNREGISTERED")),
        (Discard("PAYLOAD_TOO_LARGE", "413"), Gone("410"), Discard("PAYLOAD_TOO_LARGE", "413")),
    ],
)
async def test_one_outcome(
    push: Push,
    fcm: Scripted,
    browsers: Scripted,
    attempt: Make,
    app: Outcome | Gone,
    web: Outcome | Gone,
    expected: Outcome,
) -> None:
    fcm.results["app"], browsers.results["web"] = app, web
    assert await push.send(attempt(APP, WEB)) == expected


async def test_a_subscription_that_ended_is_forgotten(
    push: Push, browsers: Scripted, store: Store, attempt: Make
) -> None:
    browsers.results["web"] = Gone("410")
    assert await push.send(attempt(WEB)) == Discard("UNREGISTERED", "410")
    assert store.forgotten == [ids.device(WEB.address)]


async def test_where_browsers_are_not_reached(
    fcm: Scripted, store: Store, links: Links, attempt: Make
) -> None:
    push = Push("fcm", fcm, None, links, store.badge, store.forget)
    assert await push.send(attempt(APP, WEB)) == Retry("WEB_PUSH_NOT_SET_UP", None, ("app",), alone=True)
    await push.close()
    assert fcm.closed


async def test_the_badge_is_counted_once_for_all(
    push: Push, fcm: Scripted, browsers: Scripted, store: Store, attempt: Make
) -> None:
    await push.send(attempt(APP, IOS, WEB))
    assert store.counted == ["user1"]
    assert {message.badge for message, _ in (*fcm.carried, *browsers.carried)} == {5}


@pytest.mark.parametrize("trouble", ["away", "slow"])
async def test_it_goes_without_a_badge(
    push: Push, fcm: Scripted, store: Store, attempt: Make, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr("services.push.push._BADGE_TIMEOUT_S", 0.05)
    setattr(store, trouble, True)
    assert isinstance(await push.send(attempt(APP)), Delivered)
    assert fcm.carried[0][0].badge is None


async def test_a_direct_send_has_nobody_to_count_for(
    push: Push, fcm: Scripted, store: Store, attempt: Make
) -> None:
    await push.send(attempt(APP, user_id=""))
    assert store.counted == []
    assert fcm.carried[0][0].badge is None


async def test_both_are_closed(push: Push, fcm: Scripted, browsers: Scripted) -> None:
    await push.close()
    assert fcm.closed
    assert browsers.closed
