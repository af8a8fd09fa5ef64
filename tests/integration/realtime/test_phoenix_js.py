"""The official client and Supabase's, from npm and unchanged, against a node: both transports, and what they make of
every kind of answer."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.realtime import scripts

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.integration.realtime.conftest import Nats, Node, Publisher, Trust


@pytest.fixture(scope="session")
async def packages() -> None:
    """The clients."""
    await scripts.install()


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("way", ["params", "subprotocol"])
async def test_the_official_client_joins_beats_receives_and_leaves(
    node: Node, trust: Trust, publisher: Publisher, user: str, way: str
) -> None:
    address = f"ws://127.0.0.1:{node.websocket_port}/socket"
    process = await asyncio.create_subprocess_exec(
        "node",
        "tour.js",
        address,
        user,
        trust.token(user),
        way,
        "3",
        cwd=scripts.FOLDER,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    steps: list[tuple[str, Any]] = []
    async with asyncio.timeout(30):
        async for line in process.stdout:
            found = json.loads(line)
            steps.append((found["step"], found["data"]))
            if found["step"] == "joined":
                for number in range(3):
                    await publisher.notify(user, f"n{number}", title="hello")
        assert await process.wait() == 0, steps
    said = dict(steps)
    assert said["open"]["protocol"] == ("phoenix" if way == "subprotocol" else "")
    assert said["refused"]["reason"] == "NOT_ALLOWED"
    assert said["heartbeat"] == {"status": "ok", "response": {}}
    assert [data["notification_id"] for step, data in steps if step == "notification"] == ["n0", "n1", "n2"]
    assert [step for step, _ in steps][-3:] == ["closed", "left", "close"]


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("how", ["poll", "fallback"])
@pytest.mark.parametrize("way", ["params", "authToken"])
async def test_it_polls_where_no_socket_gets_through(
    node: Node, trust: Trust, publisher: Publisher, user: str, how: str, way: str
) -> None:
    address = f"ws://127.0.0.1:{node.longpoll_port}/socket"
    async with scripts.running("longpoll.js", address, user, trust.token(user), way, how) as script:
        await script.until("joined")
        await publisher.notify(user, "n1", title="hello")
        assert (await script.until("notification"))["notification_id"] == "n1"
        assert (await script.until("refused"))["reason"] == "INVALID_REQUEST"
        await script.until("left")
        await script.until("disconnected")
        assert await script.process.wait() == 0
    assert script.said("open") == [{"polls": True}]
    assert len(script.said("error")) == (how == "fallback")


@pytest.mark.usefixtures("packages")
async def test_it_polls_anew_when_the_session_is_gone(
    nats: Nats, trust: Trust, run_node: Callable[..., AbstractAsyncContextManager[Node]], user: str
) -> None:
    told = {"CROWN_LONGPOLL_WINDOW_S": "2"}
    async with run_node(nats, **told) as first:
        told["CROWN_LONGPOLL_PORT"] = str(first.longpoll_port)
        address = f"ws://127.0.0.1:{first.longpoll_port}/socket"
        async with scripts.running(
            "longpoll.js", address, user, trust.token(user), "params", "poll"
        ) as script:
            await script.until("joined")
            first.process.send_signal(signal.SIGTERM)
            await first.process.wait()
            async with run_node(nats, **told):
                await script.until("joined")
    assert len(script.said("open")) == 2


@pytest.mark.usefixtures("packages")
async def test_it_makes_sense_of_every_answer(
    node: Node, trust: Trust, publisher: Publisher, user: str
) -> None:
    address = f"ws://127.0.0.1:{node.websocket_port}/socket"
    async with scripts.running("channels.js", address, user, trust.token(user)) as script:
        # Closed with 1011 for a frame that is none, it comes back and joins again.
        assert (await script.until("close"))["code"] == 1011
        await script.until("rejoined")
        await publisher.notify(user, "n1", title="t")
        assert await script.until("notification") == "n1"
        script.tell("end")
        await script.until("disconnected")
        assert await script.process.wait() == 0
    said = dict(script.steps)
    assert (said["first"], said["second"]) == ("ok", "ok")
    assert "first closed" in said
    for step in ("push", "binary"):
        assert (said[step]["status"], said[step]["response"]["reason"]) == ("error", "INVALID_REQUEST")
    assert said["unmatched"] == {
        "status": "error",
        "response": {
            "reason": "unmatched topic",
            "code": 5,
            "message": "there is no such topic, or it is not joined",
        },
    }
    assert (said["left"], said["left again"]) == ("ok", "ok")
    assert script.said("open") == [1, 2]


@pytest.mark.usefixtures("packages")
async def test_it_comes_back_after_a_restart_and_a_server_that_hangs(
    nats: Nats, trust: Trust, run_node: Callable[..., AbstractAsyncContextManager[Node]], user: str
) -> None:
    async with run_node(nats) as first:
        port = {"CROWN_WEBSOCKET_PORT": str(first.websocket_port)}
        address = f"ws://127.0.0.1:{first.websocket_port}/socket"
        async with scripts.running("channels.js", address, user, trust.token(user)) as script:
            await script.until("rejoined")
            first.process.send_signal(signal.SIGTERM)
            assert (await script.until("close"))["code"] == 1012
            await first.process.wait()
            async with run_node(nats, **port) as second:
                await script.until("rejoined")
                # No heartbeat is answered, and the client gives the connection up by itself.
                second.process.send_signal(signal.SIGSTOP)
                script.tell("push")
                assert await script.until("late") == "timeout"
                assert (await script.until("second failed"))["reason"] == "heartbeat_timeout"
                second.process.send_signal(signal.SIGCONT)
                await script.until("rejoined")


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("vsn", ["1.0.0", "2.0.0"])
async def test_supabases_client_finds_its_topics(
    node: Node, trust: Trust, publisher: Publisher, user: str, vsn: str
) -> None:
    address = f"ws://127.0.0.1:{node.websocket_port}/socket"
    async with scripts.running("supabase.js", address, user, trust.token(user), vsn) as script:
        subscribed = await script.until("subscribed")
        assert subscribed == {"status": "SUBSCRIBED", "error": None, "topic": f"realtime:user:{user}"}
        await publisher.notify(user, "n1", title="hello")
        assert (await script.until("notification"))["notification_id"] == "n1"
        assert await script.until("unsubscribed") == "ok"
        assert await script.process.wait() == 0
    assert script.said("refused")[0]["reason"] == "NOT_ALLOWED"
    assert {"sent", "ok"} <= set(script.said("heartbeat"))
