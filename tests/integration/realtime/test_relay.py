"""The relay between a feed and the real ingest: what the feed tells becomes notifications, once, whoever dies."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from grpc_health.v1 import health_pb2

from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from tests import ports
from tests.integration.api import Api
from tests.integration.local import Local
from tests.integration.rig import SERVING, Rig, Service, until

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
RULE = """
when = {type = "goal"}
id = "match.event_id"
each = "fans"
kind = "update"
data.title = "{team} scored"
data.action_url = "/matches/{match.id}"
"""


class Scores:
    """A feed as it is out there: it tells everything again to everybody who connects."""

    def __init__(self) -> None:
        self.said: list[str | bytes] = []
        self.connections = 0
        self._open: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None
        self.port = ports.free()

    async def start(self) -> None:
        """Lets connections in."""
        app = web.Application()
        app.router.add_get("/", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def die(self) -> None:
        """Ends without a word."""
        for one in self._open:
            assert one._req is not None
            if one._req.transport is not None:
                one._req.transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def say(self, *messages: str | bytes) -> None:
        """Tells all who are connected, and those who will be."""
        self.said.extend(messages)
        for one in list(self._open):
            for message in messages:
                await _send(one, message)

    async def visits(self) -> int:
        """How often somebody has connected."""
        return self.connections

    async def _handle(self, request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        self.connections += 1
        try:
            for message in self.said:
                await _send(opened, message)
            self._open.add(opened)
            async for _ in opened:
                pass
        finally:
            self._open.discard(opened)
        return opened


async def _send(to: web.WebSocketResponse, message: str | bytes) -> None:
    data = message.encode() if isinstance(message, str) else message
    await to.send_frame(data, WSMsgType.TEXT)


def goal(event_id: str, *fans: str, **more: Any) -> str:
    return json.dumps(
        {
            "type": "goal",
            "match": {"id": "m/7", "event_id": event_id},
            "team": "Crown & Co",
            "fans": fans,
            **more,
        }
    )


@pytest.fixture(scope="module")
async def ingest(rig: Rig, local: Local) -> AsyncIterator[Service]:
    """Ingest's API; streams and indexes are there."""
    async with rig.running("api") as service:
        yield service


@pytest.fixture
async def scores() -> AsyncIterator[Scores]:
    """A feed."""
    made = Scores()
    await made.start()
    yield made
    await made.die()


class Relay:
    """A relay process and what it counts."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def events(self, outcome: str) -> float:
        return await self.service.metric("crown_relay_events_total", outcome=outcome)

    async def notifications(self, outcome: str) -> float:
        return await self.service.metric("crown_relay_notifications_total", outcome=outcome)

    async def accepted(self, count: int) -> None:
        await until(partial(self.notifications, "accepted"), lambda found: found == count)

    async def connected(self, feed: str = "scores") -> bool:
        return await self.service.metric("crown_relay_connected", feed=feed) == 1


@pytest.fixture
def relaying(rig: Rig, ingest: Service, scores: Scores, tmp_path: Path) -> Callable[..., Any]:
    """Runs a relay that listens to the feed; `feed` is what its table says besides, `more` other feeds."""

    @asynccontextmanager
    async def run(feed: str = "", more: str = "", token: str = "", **given: str) -> AsyncIterator[Relay]:
        file = tmp_path / "feeds.toml"
        file.write_text(
            f'[[feed]]\nname = "scores"\nurl = "ws://127.0.0.1:{scores.port}/"\n{feed}\n[[feed.event]]\n{RULE}\n{more}'
        )
        (tmp_path / "token").write_text(token or rig.token("relay", scopes=["notifications.send"]))
        settings = {
            "CROWN_RELAY_FEEDS": str(file),
            "CROWN_INGEST_ADDRESS": f"127.0.0.1:{ingest.port}",
            "CROWN_RELAY_TOKEN_FILE": str(tmp_path / "token"),
            "CROWN_GRACE_S": "2",
            **given,
        }
        async with rig.started(["-m", "services.realtime.relay"], "realtime-relay", **settings) as service:
            await service.serving()
            yield Relay(service)

    return run


async def rows(local: Local, *people: str) -> int:
    return await local.db.ledger.count_documents({"user_id": {"$in": list(people)}})


async def test_an_event_reaches_its_people(
    rig: Rig, local: Local, ingest: Service, scores: Scores, relaying: Callable[..., Any]
) -> None:
    one, other = local.somebody(), local.somebody()
    async with relaying() as relay, local.dispatching():
        await until(relay.connected)
        await scores.say(goal("e1", one, other))
        await until(partial(rows, local, one, other), lambda found: found == 2)
        row = await local.db.ledger.find_one({"user_id": other})
        assert row is not None
        notification = await Api(rig, ingest, "relay").get(row["notification_id"])
        assert (notification.sender, notification.kind) == ("relay", "update")
        assert len(await local.live(other)) == 1
        answer = await Api(rig, ingest).inbox.ListNotifications(
            ListNotificationsRequest(user_id=other),
            metadata=(("authorization", f"Bearer {rig.token(user=other)}"),),
        )
        (entry,) = answer.notifications
        assert (entry.data.title, entry.data.action_url) == ("Crown & Co scored", "/matches/m%2F7")


async def test_what_a_feed_tells_again_is_not_sent_again(
    local: Local, scores: Scores, relaying: Callable[..., Any]
) -> None:
    person = local.somebody()
    async with local.dispatching():
        async with relaying() as relay:
            await until(relay.connected)
            await scores.say(goal("again-1", person), goal("again-2", person))
            await relay.accepted(2)
            await scores.die()
            await until(relay.connected, lambda found: not found)
            await scores.start()
            await until(relay.connected)
            await scores.say(goal("again-3", person))
            await relay.accepted(5)
        # A restart forgets nothing either, and other words for the same are no news.
        scores.said.append(goal("again-1", person, team="Another"))
        async with relaying() as relay:
            await relay.accepted(3)
            await until(partial(relay.notifications, "repeated"), lambda found: found == 1)
        await local.dispatched()
        assert await rows(local, person) == 3
        assert len(await local.live(person)) == 3


async def test_bad_events_are_counted_and_good_ones_get_through(
    local: Local, scores: Scores, relaying: Callable[..., Any]
) -> None:
    person = local.somebody()
    scores.said = [
        "no json",
        b"\xff\xfe",
        "[" * 50_000,
        '{"type": "card"}',
        '{"type": "goal"}',
        goal("bad-1", "not a user id"),
        goal("bad-2", person, team="two\nlines"),
        goal("bad-3", person),
    ]
    async with relaying() as relay, local.dispatching():
        await until(partial(relay.notifications, "refused"), lambda found: found == 2)
        await relay.accepted(1)
        found = {name: await relay.events(name) for name in ("undecodable", "unmatched", "unmappable")}
        assert found == {"undecodable": 3, "unmatched": 1, "unmappable": 1}
        await until(partial(rows, local, person), lambda count: count == 1)
        assert scores.connections == 1
        # Nothing of what the feed said.
        assert not [
            word for word in ("not a user id", "two", "Crown & Co", person) if word in relay.service.log()
        ]


async def test_while_ingest_hangs_the_feed_is_not_read_and_nothing_is_lost(
    local: Local, ingest: Service, scores: Scores, relaying: Callable[..., Any]
) -> None:
    people = [local.somebody() for _ in range(40)]
    async with relaying(CROWN_RELAY_IN_FLIGHT="4") as relay:
        await until(relay.connected)
        ingest.signal(signal.SIGSTOP)
        try:
            await scores.say(*(goal(f"hang-{person}", person) for person in people))
            await until(partial(relay.events, "matched"), lambda found: found == 5)
            await asyncio.sleep(0.3)
            assert await relay.events("matched") == 5
            assert await relay.notifications("accepted") == 0
            # It says so, and it is not the feed's fault.
            assert await relay.connected()
        finally:
            ingest.signal(signal.SIGCONT)
        await relay.accepted(40)
    async with local.dispatching():
        await until(partial(rows, local, *people), lambda found: found == 40)


async def test_one_event_for_thousands_does_not_pile_up(
    local: Local, scores: Scores, relaying: Callable[..., Any]
) -> None:
    people = [local.somebody() for _ in range(500)]
    async with relaying(CROWN_RELAY_IN_FLIGHT="8") as relay:
        await until(relay.connected)
        await scores.say(goal("many", *people))
        await relay.accepted(500)


async def test_a_silent_or_missing_feed_disturbs_no_other(
    local: Local, scores: Scores, relaying: Callable[..., Any]
) -> None:
    person = local.somebody()
    missing = f'[[feed]]\nname = "missing"\nurl = "ws://127.0.0.1:9/"\n[[feed.event]]\n{RULE}'
    async with relaying(feed="idle_s = 1", more=missing) as relay:
        await until(relay.connected)
        await scores.say(goal("silent", person))
        await until(scores.visits, lambda found: found >= 2)
        await relay.accepted(2)
        assert not await relay.connected("missing")
        assert {"feed_lost", "feed_connected"} <= set(relay.service.events())
    async with local.dispatching():
        await until(partial(rows, local, person), lambda found: found == 1)
        await local.dispatched()
        assert await rows(local, person) == 1


async def test_a_new_token_needs_no_restart_and_the_event_waits_for_it(
    rig: Rig, scores: Scores, tmp_path: Path, relaying: Callable[..., Any]
) -> None:
    async with relaying(token=rig.token("relay", ttl_s=-3600)) as relay:
        await until(relay.connected)
        await scores.say(goal("token", "token-1"))
        await until(relay.service.health, lambda found: found == NOT_SERVING)
        assert "token_refused" in relay.service.events()
        (tmp_path / "token").write_text(rig.token("relay"))
        await relay.accepted(1)
        await until(relay.service.health, lambda found: found == SERVING)
        assert await relay.notifications("refused") == 0


async def test_it_is_not_healthy_without_ingest(
    rig: Rig, scores: Scores, tmp_path: Path, relaying: Callable[..., Any]
) -> None:
    async with relaying():
        pass
    settings = {
        "CROWN_RELAY_FEEDS": str(tmp_path / "feeds.toml"),
        "CROWN_RELAY_TOKEN": "any",
        "CROWN_INGEST_ADDRESS": "127.0.0.1:9",
    }
    async with rig.started(["-m", "services.realtime.relay"], "realtime-relay", **settings) as service:
        await until(service.health, lambda found: found == NOT_SERVING)
        # Feeds are followed all the same: what they say waits for ingest.
        await until(Relay(service).connected)
        await asyncio.sleep(0.3)
        assert await service.health() == NOT_SERVING


async def test_it_ends_in_time_and_says_what_was_left(
    local: Local, ingest: Service, scores: Scores, relaying: Callable[..., Any]
) -> None:
    async with relaying(CROWN_GRACE_S="1") as relay:
        await until(relay.connected)
        ingest.signal(signal.SIGSTOP)
        try:
            await scores.say(goal("left", "left-1"))
            await until(partial(relay.events, "matched"), lambda found: found == 1)
            began = time.monotonic()
            await relay.service.stop()
            assert time.monotonic() - began < 5
        finally:
            ingest.signal(signal.SIGCONT)
        assert "drain_left_work" in relay.service.events()


async def test_a_wrong_file_ends_it_with_every_problem(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "feeds.toml"
    file.write_text(
        '[[feed]]\nname = "scores"\nurl = "hush://x"\n[[feed.event]]\nid = "id"\ndata.title = "{"'
    )
    settings = {
        "CROWN_RELAY_FEEDS": str(file),
        "CROWN_INGEST_ADDRESS": "127.0.0.1:1",
        "CROWN_RELAY_TOKEN": "hush",
    }
    async with rig.started(["-m", "services.realtime.relay"], "realtime-relay", **settings) as service:
        assert await service.ended() == 2
        lines = [
            line
            for line in service.log().splitlines()
            if line.startswith("wrong setting  CROWN_RELAY_FEEDS: ")
        ]
        assert [line.rpartition(": ")[0].rpartition(": ")[2] for line in lines] == [
            "url",
            "user_id",
            "data.title",
        ]
        assert "hush" not in service.log()
