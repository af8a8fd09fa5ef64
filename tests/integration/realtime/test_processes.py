"""Several processes behind one port: clients come to all of them, and none is missed when one of them ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
import psutil
import pytest

if TYPE_CHECKING:
    from tests.integration.realtime.conftest import Nats, Node, Person, Publisher, Trust

    Run = Callable[..., AbstractAsyncContextManager[Node]]

SEVERAL = {"CROWN_REALTIME_PROCESSES": "2", "CROWN_CONNECTIONS_PER_USER": "0"}


def children(node: Node) -> list[psutil.Process]:
    """The processes that serve."""
    return psutil.Process(node.process.pid).children()


async def measured(node: Node, number: int, name: str) -> float | None:
    """A metric without labels of the process of that number; None where it does not answer."""
    url = f"http://127.0.0.1:{node.metrics_port + number}/metrics"
    try:
        async with node.http.get(url) as answer:
            lines = (await answer.text()).splitlines()
    except aiohttp.ClientError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)


async def sockets(node: Node, number: int) -> float | None:
    """How many connections it has."""
    return await measured(node, number, "crown_sockets")


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    """Waits until it is."""
    async with asyncio.timeout(20):
        while not await done():  # noqa: ASYNC110 -- other processes
            await asyncio.sleep(0.1)


def free_pair() -> int:
    """A port that nobody listens on, and the next neither: each process has metrics of its own."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


@asynccontextmanager
async def two(nats: Nats, run_node: Run) -> AsyncIterator[Node]:
    """Two processes that both serve."""
    async with run_node(nats, **SEVERAL, CROWN_METRICS_PORT=str(free_pair())) as node:
        await until(lambda: both_listen(node))
        yield node


async def both_listen(node: Node) -> bool:
    """Whether each has the inherited port in its hands, which it takes up last."""
    return len(children(node)) == 2 and all([await serves(process) for process in children(node)])


async def serves(process: psutil.Process) -> bool:
    """Whether a process waits for connections: it is connected to the bus, and warm."""
    found = await asyncio.to_thread(lambda: process.num_threads() > 1 and process.net_connections("tcp"))
    return any(one.status == psutil.CONN_ESTABLISHED for one in found or ())


async def enter(stack: AsyncExitStack, node: Node, token: str, user: str, number: int) -> list[Person]:
    """So many clients on a person's topic."""
    people = [await stack.enter_async_context(node.person(token)) for _ in range(number)]
    for person in people:
        assert (await person.join(f"user:{user}"))["status"] == "ok"
    return people


async def heard(person: Person) -> str:
    """The next notification that comes."""
    while (frame := await person.hear())[3] != "notification":
        pass
    return str(frame[4]["notification_id"])


async def test_clients_come_to_both_and_hear_the_same(
    nats: Nats, trust: Trust, run_node: Run, publisher: Publisher, user: str
) -> None:
    async with two(nats, run_node) as node, AsyncExitStack() as stack:
        people: list[Person] = []

        async def spread() -> bool:
            people.extend(await enter(stack, node, trust.token(user), user, 10))
            return all([await sockets(node, number) for number in range(2)])

        await until(spread)
        counts = [await sockets(node, number) for number in range(2)]
        assert sum(count or 0 for count in counts) == len(people)
        await publisher.notify(user, "n1", title="t")
        assert await asyncio.gather(*map(heard, people)) == ["n1"] * len(people)


async def test_one_that_is_killed_is_started_again_and_nobody_is_refused_meanwhile(
    nats: Nats, trust: Trust, run_node: Run, publisher: Publisher, user: str
) -> None:
    async with two(nats, run_node) as node, AsyncExitStack() as stack:
        token = trust.token(user)
        people = await enter(stack, node, token, user, 20)
        victim = children(node)[0]
        victim.kill()
        lost = []
        await publisher.notify(user, "n1", title="t")
        for person in people:
            message = await person.connection.receive(10)
            while message.type == aiohttp.WSMsgType.TEXT and '"notification"' not in message.data:
                message = await person.connection.receive(10)
            if message.type != aiohttp.WSMsgType.TEXT:
                lost.append(person)
        # Who lost theirs comes back at once, to the other one.
        again = await enter(stack, node, token, user, len(lost))
        await publisher.notify(user, "n2", title="t")
        assert await asyncio.gather(*map(heard, again)) == ["n2"] * len(again)
        await until(lambda: both_listen(node))
        assert victim.pid not in {process.pid for process in children(node)}


_OF_A_PROCESS = ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total")


async def test_each_tells_how_it_is(nats: Nats, run_node: Run) -> None:
    """Processor, memory and files are those of one process, so each has metrics of its own."""
    async with two(nats, run_node) as node:
        told: list[list[float | None]] = []

        async def all_told() -> bool:
            # One that has only just begun has used no processor time yet.
            told[:] = [
                [
                    await measured(node, number, name)
                    for name in ("process_start_time_seconds", *_OF_A_PROCESS)
                ]
                for number in range(2)
            ]
            return all(map(all, told))

        await until(all_told)
        # Both may start in the same hundredth of a second; memory and processor time agree with it by chance only.
        assert told[0] != told[1]

        async def looked() -> bool:
            return all([await measured(node, number, "crown_loop_lag_seconds_count") for number in range(2)])

        await until(looked)


async def test_a_stop_sends_everybody_away_and_ends_cleanly(
    nats: Nats, trust: Trust, run_node: Run, user: str
) -> None:
    async with two(nats, run_node) as node, AsyncExitStack() as stack:
        people = await enter(stack, node, trust.token(user), user, 20)
        served = children(node)
        node.process.send_signal(signal.SIGTERM)
        assert {await person.closed() for person in people} == {1012}
        assert await asyncio.wait_for(node.process.wait(), 30) == 0
        assert not any(process.is_running() for process in served)


async def test_they_end_with_their_supervisor_however_it_ends(
    nats: Nats, trust: Trust, run_node: Run, user: str
) -> None:
    async with two(nats, run_node) as node, AsyncExitStack() as stack:
        people = await enter(stack, node, trust.token(user), user, 10)
        served = children(node)
        os.kill(node.process.pid, signal.SIGKILL)
        assert {await person.closed() for person in people} == {1012}
        _, alive = await asyncio.to_thread(psutil.wait_procs, served, 10)
        assert alive == []


@pytest.mark.parametrize("port", ["CROWN_WEBSOCKET_PORT", "CROWN_LONGPOLL_PORT"])
async def test_a_taken_port_is_named(
    nats: Nats, node: Node, start_badly: Callable[..., Awaitable[tuple[int | None, str]]], port: str
) -> None:
    code, said = await start_badly(nats, CROWN_REALTIME_PROCESSES="2", **{port: str(node.websocket_port)})
    assert code == 2
    assert port in said


@pytest.mark.parametrize("listeners", ["websocket=99", "4000"])
async def test_listeners_that_are_none_are_named(
    nats: Nats, start_badly: Callable[..., Awaitable[tuple[int | None, str]]], listeners: str
) -> None:
    code, said = await start_badly(nats, CROWN_LISTENERS=listeners)
    assert code == 2
    assert "CROWN_LISTENERS" in said
