"""Long polling over real HTTP, and over two processes with the bus between them."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.integration.realtime.conftest import PATIENCE_S

if TYPE_CHECKING:
    from tests.integration.realtime.conftest import Nats, Node, Publisher, Trust

    Run = Callable[..., AbstractAsyncContextManager[Node]]

WINDOW_S = 1.0
NDJSON = {"Content-Type": "application/x-ndjson"}


def address(node: Node) -> str:
    """Where clients poll."""
    return f"http://127.0.0.1:{node.longpoll_port}/socket/longpoll"


class Poller:
    """A client that polls, as phoenix.js does; `nodes` are asked in turn, as behind a balancer."""

    def __init__(self, *nodes: Node, vsn: str = "2.0.0") -> None:
        self._nodes = nodes
        self._vsn = vsn
        self._asked = 0
        self.token = ""

    async def ask(self, method: str, **request: Any) -> dict[str, Any]:
        """One request, and the body of its answer."""
        self._asked += 1
        node = self._nodes[self._asked % len(self._nodes)]
        query = [("vsn", self._vsn), *request.pop("query", []), *([("token", self.token)] * bool(self.token))]
        async with node.http.request(method, address(node), params=query, **request) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.headers["Cache-Control"] == "no-store"
            found: dict[str, Any] = await answer.json()
            return found

    async def open(self, token: str) -> None:
        """Opens a session."""
        opened = await self.ask("GET", query=[("token", token)])
        assert (opened["status"], opened["messages"]) == (410, [])
        self.token = opened["token"]

    async def poll(self) -> tuple[int, list[Any]]:
        """The status, and what came."""
        answer = await self.ask("GET")
        return answer["status"], [json.loads(text) for text in answer.get("messages", [])]

    async def say(self, *frames: Any) -> int:
        """Sends frames and answers the status."""
        lines = "\n".join(frame if isinstance(frame, str) else json.dumps(frame) for frame in frames)
        found: int = (await self.ask("POST", data=lines, headers=NDJSON))["status"]
        return found

    async def hear(self, event: str) -> Any:
        """The next message with this event; what came before is passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status, messages = await self.poll()
                assert status in {200, 204}
                for message in messages:
                    if message[3] == event:
                        return message


@pytest.fixture(scope="module")
async def near(nats: Nats, run_node: Run) -> AsyncIterator[Node]:
    """One process."""
    async with run_node(nats, CROWN_LONGPOLL_WINDOW_S=str(WINDOW_S)) as found:
        yield found


@pytest.fixture(scope="module")
async def far(nats: Nats, run_node: Run) -> AsyncIterator[Node]:
    """Another one."""
    async with run_node(nats, CROWN_LONGPOLL_WINDOW_S=str(WINDOW_S)) as found:
        yield found


@pytest.fixture(params=["near", "far", "both"])
def poller(request: pytest.FixtureRequest, near: Node, far: Node) -> Poller:
    """Opens its session at the near process, and goes on at this one, at the other, or at each in turn."""
    match request.param:
        case "near":
            return Poller(near)
        case "far":
            return Poller(far, near, far, far, far, far, far, far, far, far)
        case _:
            return Poller(near, far)


async def test_join_push_receive_leave(poller: Poller, trust: Trust, publisher: Publisher, user: str) -> None:
    topic = f"user:{user}"
    await poller.open(trust.token(user))
    assert await poller.say(["1", "1", topic, "phx_join", {}], [None, "2", "phoenix", "heartbeat", {}]) == 200
    _, messages = await poller.poll()
    replies = {message[1]: message for message in messages if message[3] == "phx_reply"}
    assert replies["1"][4]["status"] == "ok"
    assert replies["2"] == [None, "2", "phoenix", "phx_reply", {"status": "ok", "response": {}}]
    waiting = asyncio.create_task(poller.hear("notification"))
    await asyncio.sleep(0.2)
    await publisher.notify(user, "n1", title="t")
    assert (await waiting)[4]["notification_id"] == "n1"
    await publisher.notify(user, "n2", title="t")
    assert (await poller.hear("notification"))[4]["notification_id"] == "n2"
    binary = bytes((0, 1, 1, len(topic), 3)) + b"13" + topic.encode() + b"bin" + b"\xff\x00"
    assert await poller.say(base64.b64encode(binary).decode(), ["1", "4", topic, "phx_leave", {}]) == 200
    _, (refused, left, closed) = await poller.poll()
    assert (refused[1], refused[4]["response"]["reason"]) == ("3", "INVALID_REQUEST")
    assert left == ["1", "4", topic, "phx_reply", {"status": "ok", "response": {}}]
    assert closed == ["1", "1", topic, "phx_close", {}]
    assert await poller.poll() == (204, [])


async def test_a_session_that_is_not_polled_ends(near: Node, far: Node, trust: Trust) -> None:
    poller = Poller(near, far)
    await poller.open(trust.token("ann"))
    await asyncio.sleep(WINDOW_S * 2.2)
    assert await poller.say([None, "1", "phoenix", "heartbeat", {}]) == 410
    # Without a token that is anybody's, a new one is not opened.
    assert await poller.poll() == (403, [])


@pytest.mark.parametrize("line", ['["1","1","t"]', "no base64!", "AAEB", '[null,"1","phoenix","\udc80",{}]'])
async def test_a_line_that_is_no_frame_ends_the_session(poller: Poller, trust: Trust, line: str) -> None:
    await poller.open(trust.token("ann"))
    body = line.encode(errors="surrogateescape")
    assert (await poller.ask("POST", data=body, headers=NDJSON))["status"] == 410
    assert await poller.say([None, "1", "phoenix", "heartbeat", {}]) == 410


async def test_a_frame_that_is_too_big_ends_the_session(poller: Poller, trust: Trust) -> None:
    await poller.open(trust.token("ann"))
    assert await poller.say([None, "1", "phoenix", "heartbeat", {"x": "x" * (64 << 10)}]) == 410


async def test_requests_have_bounds(near: Node, trust: Trust) -> None:
    poller = Poller(near)
    await poller.open(trust.token("ann"))
    beat: list[Any] = [None, "1", "phoenix", "heartbeat", {}]
    assert await poller.say(*[beat] * 101) == 413
    assert await poller.say(*[beat] * 100) == 200
    assert len((await poller.poll())[1]) == 100
    query = {"vsn": "2.0.0", "token": poller.token}
    async with near.http.post(address(near), params=query, data=b" " * (600 << 10)) as answer:
        assert (answer.status, await answer.read()) == (413, b"")


async def test_without_its_type_a_body_is_one_frame(near: Node, trust: Trust) -> None:
    poller = Poller(near)
    await poller.open(trust.token("ann"))
    body = json.dumps([None, "1", "phoenix", "heartbeat", {"a": 1}], indent=1)
    assert (await poller.ask("POST", data=body))["status"] == 200
    assert len((await poller.poll())[1]) == 1


async def test_version_one_is_spoken(near: Node, trust: Trust, user: str) -> None:
    poller = Poller(near, vsn="1.0.0")
    await poller.open(trust.token(user))
    join = {"topic": f"user:{user}", "event": "phx_join", "payload": {}, "ref": "1"}
    assert await poller.say(join) == 200
    _, messages = await poller.poll()
    assert messages[0]["payload"]["status"] == "ok"


async def test_tokens_may_come_in_headers(near: Node, trust: Trust) -> None:
    poller = Poller(near)
    opened = await poller.ask("GET", headers={"X-Phoenix-AuthToken": trust.token("ann")})
    assert opened["status"] == 410
    answer = await poller.ask("POST", headers={"X-Phoenix-LongPoll-Token": opened["token"]}, data=b"")
    assert answer == {"status": 200}


@pytest.mark.parametrize(
    "query",
    [[], [("token", "x")], [("token", "lp1.aaaa.bbbb.cccc")], [("vsn", "3.0.0"), ("token", "good")]],
    ids=["no token", "bad token", "forged session", "bad version"],
)
async def test_refusals_say_403_in_the_body(near: Node, trust: Trust, query: list[tuple[str, str]]) -> None:
    query = [(name, value.replace("good", trust.token("ann"))) for name, value in query]
    assert await Poller(near).ask("GET", query=query) == {"status": 403}


@pytest.mark.parametrize("token", ["", "x", "lp1.aaaa.bbbb.cccc", "lp1.a.b.\u00e9"])
async def test_nobody_pushes_without_a_session(near: Node, token: str) -> None:
    poller = Poller(near)
    poller.token = token
    assert await poller.say([None, "1", "phoenix", "heartbeat", {}]) == 410


@pytest.mark.parametrize(("origin", "code"), [("http://127.0.0.1:8080", 200), ("https://evil.example", 403)])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_pages_that_may_open_a_socket_may_poll(
    near: Node, trust: Trust, origin: str, code: int, method: str
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    query = {"vsn": "2.0.0", "token": trust.token("ann")}
    async with near.http.request(method, address(near), params=query, headers=asked) as answer:
        assert answer.status == code
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if code == 200 else None)
        assert answer.headers["Vary"] == "Origin"
        if method == "OPTIONS" and code == 200:
            assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
            assert "x-phoenix-authtoken" in answer.headers["Access-Control-Allow-Headers"]


async def test_other_requests_are_refused(near: Node) -> None:
    async with near.http.put(address(near)) as answer:
        assert (answer.status, await answer.read()) == (400, b"")
    async with near.http.get(address(near) + "/x") as answer:
        assert answer.status == 404


async def test_a_later_poll_takes_over(poller: Poller, trust: Trust) -> None:
    await poller.open(trust.token("ann"))
    first = asyncio.create_task(poller.poll())
    await asyncio.sleep(0.3)
    second = asyncio.create_task(poller.poll())
    assert await first == (204, [])
    await poller.say([None, "1", "phoenix", "heartbeat", {}])
    assert (await second)[0] == 200


async def test_what_comes_while_the_client_is_gone_waits_for_it(poller: Poller, trust: Trust) -> None:
    await poller.open(trust.token("ann"))
    waiting = asyncio.create_task(poller.poll())
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0.3)
    assert await poller.say([None, "1", "phoenix", "heartbeat", {}]) == 200
    assert len((await poller.poll())[1]) == 1


async def test_a_token_that_ends_ends_the_session(near: Node, far: Node, trust: Trust) -> None:
    poller = Poller(near, far)
    await poller.open(trust.token("ann", ttl_s=-28))
    async with asyncio.timeout(PATIENCE_S):
        while (await poller.poll())[0] != 403:
            pass


async def test_sessions_are_counted_as_sockets(near: Node, trust: Trust) -> None:
    before = await near.metric("crown_sockets")
    await Poller(near).open(trust.token("ann"))
    assert await near.metric("crown_sockets") == before + 1
    async with asyncio.timeout(PATIENCE_S):
        while await near.metric("crown_sockets") != before:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_node_that_stops_answers_those_who_wait(
    nats: Nats, trust: Trust, near: Node, run_node: Run
) -> None:
    async with run_node(nats, CROWN_LONGPOLL_WINDOW_S="10") as node:
        here, elsewhere = Poller(node), Poller(near, node, *[near] * 20)
        for poller in (here, elsewhere):
            await poller.open(trust.token("ann"))
        waiting = asyncio.create_task(here.ask("GET", query=[("token", trust.token("ann"))]))
        there = asyncio.create_task(elsewhere.ask("GET", query=[("token", trust.token("ann"))]))
        await asyncio.sleep(0.3)
        node.process.send_signal(signal.SIGTERM)
        # No node of its own would take it, and phoenix.js comes back after any failure.
        with pytest.raises((AssertionError, aiohttp.ClientError)):
            await asyncio.wait_for(waiting, 5)
        # The other one opens a new session at once.
        moved = await asyncio.wait_for(there, 5)
        assert moved["status"] == 410
        assert moved["token"] != elsewhere.token
        assert await asyncio.wait_for(node.process.wait(), 10) == 0
        assert (await elsewhere.ask("POST", data=b"", headers=NDJSON))["status"] == 410
