"""Nodes, the people on them, and what their clients make of what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from services.realtime.presence.board import Board, Figures
from services.realtime.presence.tracker import Tracker

# Everything ten times faster or more, and few make a crowd.
FAST = Figures(
    beat_s=0.1,
    ttl_s=2.0,
    look_s=0.1,
    hold_s=0.4,
    gather_s=0.01,
    spacing_s=0.02,
    retry_s=0.05,
    crowd=8,
    crowd_ends=6,
    count_s=0.1,
    active_s=0.05,
)

State = dict[str, list[dict[str, Any]]]


class Client:
    """What phoenix.js knows of one topic: metas by key. Before the first state diffs wait."""

    def __init__(self) -> None:
        self.state: State = {}
        self.count: int | None = None
        self.synced = False
        self.events: list[tuple[str, Any]] = []
        self._waiting: list[Any] = []

    def hear(self, event: str, payload: Any) -> None:
        """One event."""
        self.events.append((event, payload))
        if event == "presence_state":
            self.state = {key: list(presence["metas"]) for key, presence in payload.items()}
            self.synced, self.count = True, None
            waiting, self._waiting = self._waiting, []
            for diff in waiting:
                self._apply(diff)
        elif event == "presence_count":
            self.count = payload["count"]
        elif self.synced:
            self._apply(payload)
        else:
            self._waiting.append(payload)

    def _apply(self, diff: Any) -> None:
        for key, presence in diff["joins"].items():
            new = {meta["phx_ref"] for meta in presence["metas"]}
            stay = [meta for meta in self.state.get(key, []) if meta["phx_ref"] not in new]
            self.state[key] = stay + list(presence["metas"])
        for key, presence in diff["leaves"].items():
            gone = {meta["phx_ref"] for meta in presence["metas"]}
            stay = [meta for meta in self.state.get(key, []) if meta["phx_ref"] not in gone]
            self.state[key] = stay
            if not stay:
                del self.state[key]

    def refs(self) -> set[str]:
        """Every phx_ref that it knows."""
        return {meta["phx_ref"] for metas in self.state.values() for meta in metas}

    def diffs(self) -> list[Any]:
        """Those that it heard."""
        return [payload for event, payload in self.events if event == "presence_diff"]


class Wire:
    """The bus: every node hears what is told, in order, each up to `delay_s` later."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.nodes: list[Node] = []
        self.away = False
        self.delay_s = delay_s

    async def publish(self, topic: str, event: str, payload: dict[str, Any]) -> None:
        """See Publish."""
        if self.away:
            raise ConnectionError("the bus is away")
        body = msgspec.json.encode(payload)
        for node in self.nodes:
            node.inbox.append((topic, event, body))
            node.arrived.set()


class Node:
    """One node with its people. `kill` and `hang` do what the signals do."""

    def __init__(self, board: Board, wire: Wire, figures: Figures = FAST) -> None:
        self._wire = wire
        self.clients: dict[str, dict[str, Client]] = {}
        self.refreshed: list[str] = []
        self.tracker = Tracker(board, self._publish, self._refresh, figures)
        self.inbox: deque[tuple[str, str, bytes]] = deque()
        self.arrived = asyncio.Event()
        self._dead = False
        self.wake()
        self._refreshing: set[asyncio.Task[None]] = set()
        wire.nodes.append(self)

    async def join(self, topic: str, key: str, **meta: Any) -> tuple[str, Client]:
        """Somebody joins: their handle, and their client once it has been sent the state."""
        client = Client()
        handle = self.tracker.track(topic, key, meta)
        self.clients.setdefault(topic, {})[handle] = client
        await self._send_state(topic, client)
        return handle, client

    def leave(self, topic: str, handle: str) -> None:
        """Somebody leaves."""
        self.clients.get(topic, {}).pop(handle, None)
        self.tracker.untrack(topic, handle)

    async def kill(self) -> None:
        """It ends at once, and its clients with it."""
        self._dead = True
        self._wire.nodes.remove(self)
        self.clients.clear()
        await self._stop()

    async def close(self) -> None:
        """It ends in order."""
        if not self._dead:
            self._dead = True
            self._wire.nodes.remove(self)
            self.clients.clear()
            await self._stop()
            await self.tracker.close()

    async def hang(self) -> None:
        """It does nothing more until `wake`."""
        await self._stop()

    def wake(self) -> None:
        """It goes on."""
        self._tasks = [asyncio.create_task(self.tracker.run()), asyncio.create_task(self._hear())]

    async def _hear(self) -> None:
        while True:
            if not self.inbox:
                self.arrived.clear()
                await self.arrived.wait()
            # Where it hangs meanwhile, the message waits.
            await asyncio.sleep(random.uniform(0, self._wire.delay_s))
            topic, event, body = self.inbox.popleft()
            clients = self.clients.get(topic, {})
            if clients:
                self.tracker.heard(topic, event, body)
            for client in clients.values():
                client.hear(event, msgspec.json.decode(body))

    async def _stop(self) -> None:
        for task in (*self._tasks, *self._refreshing):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _publish(self, topic: str, event: str, payload: dict[str, Any]) -> None:
        await self._wire.publish(topic, event, payload)

    def _refresh(self, topic: str) -> None:
        self.refreshed.append(topic)
        task = asyncio.create_task(self._send_all(topic))
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def _send_all(self, topic: str) -> None:
        for client in list(self.clients.get(topic, {}).values()):
            await self._send_state(topic, client)

    async def _send_state(self, topic: str, client: Client) -> None:
        for event, payload in await self.tracker.state(topic):
            client.hear(event, msgspec.json.decode(payload))


async def until(done: Callable[[], object], within_s: float = 10.0) -> float:
    """Returns as soon as `done` is true, with the seconds that it took; fails after `within_s`."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < within_s, f"not within {within_s:g} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - began
