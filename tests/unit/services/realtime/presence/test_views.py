"""A state holds what was told while it was read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from crown.breaker import Away
from services.realtime.presence.board import Figures, Record, View
from services.realtime.presence.diff import Row
from services.realtime.presence.views import Views

TOPIC = "group:1"


def record(key: str, at: int) -> bytes:
    """One channel of another node."""
    ref = f"{key}{at}"
    meta = msgspec.Raw(msgspec.json.encode({"phx_ref": ref}))
    return msgspec.json.encode(Record(key, at, ref, meta))


def told(key: str, ref: str) -> dict[str, Any]:
    """One side of a diff."""
    return {key: {"metas": [{"phx_ref": ref}]}}


class Place:
    """A board that answers when it is let, and what this node holds."""

    def __init__(self) -> None:
        self.view = View([record("ann", 1), record("bob", 2)], False, 0)
        self.held: list[Row] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0
        self.away = False
        self.version = 0
        figures = Figures(spacing_s=0.03, crowd=3)
        self.views = Views(self.read, lambda _: self.held, lambda _: False, lambda: self.version, figures)

    async def read(self, topics: Sequence[str]) -> list[View]:
        self.reads += 1
        view = self.view
        await self.gate.wait()
        if self.away:
            raise Away("gone")
        return [view for _ in topics]

    def hear(self, event: str, payload: object, topic: str = TOPIC) -> None:
        """Everybody is told this."""
        self.views.heard(topic, event, msgspec.json.encode(payload))

    async def refs(self) -> dict[str, list[str]]:
        """The phx_refs of the state, by key."""
        (event, payload), *_ = await self.views.encoded(TOPIC)
        assert event == "presence_state"
        found = msgspec.json.decode(payload)
        return {key: [meta["phx_ref"] for meta in each["metas"]] for key, each in found.items()}

    async def asked(self) -> asyncio.Task[dict[str, list[str]]]:
        """A reading that the board does not answer yet."""
        self.gate.clear()
        task = asyncio.create_task(self.refs())
        for _ in range(5):
            await asyncio.sleep(0)
        assert self.reads == 1
        return task


@pytest.fixture
async def place() -> Place:
    """Ann and Bob are on another node."""
    return Place()


async def test_what_is_told_meanwhile_is_in_it(place: Place) -> None:
    task = await place.asked()
    place.hear("presence_diff", {"joins": told("cat", "c"), "leaves": told("ann", "ann1")})
    place.hear("presence_diff", {"joins": told("dog", "d"), "leaves": {}}, "group:2")
    place.gate.set()
    assert await task == {"bob": ["bob2"], "cat": ["c"]}
    await asyncio.sleep(0.04)
    assert await place.refs() == {"ann": ["ann1"], "bob": ["bob2"]}  # and in no later one


async def test_where_the_topic_turned_meanwhile_it_is_read_again(place: Place) -> None:
    task = await place.asked()
    place.hear("presence_state", {})
    place.view = View([], True, 7)
    place.gate.set()
    assert await task == {}
    assert place.reads == 2
    await asyncio.sleep(0.04)
    assert await place.views.encoded(TOPIC) == [
        ("presence_state", msgspec.Raw(b"{}")),
        ("presence_count", msgspec.Raw(b'{"count":7}')),
    ]


async def test_what_the_node_knows_of_itself_goes_first(place: Place) -> None:
    place.held = [Row(0, "mine", "bob", {"phx_ref": "mine"})]
    assert await place.refs() == {"bob": ["mine", "bob2"], "ann": ["ann1"]}


async def test_a_reading_begins_after_it_was_asked_for(place: Place) -> None:
    """An answer made earlier would miss what was told before the one who asks had joined."""
    task = await place.asked()
    place.view = View([record("cat", 3)], False, 0)
    later = asyncio.create_task(place.refs())
    place.gate.set()
    assert await task == {"ann": ["ann1"], "bob": ["bob2"]}
    assert await later == {"cat": ["cat3"]}


async def test_those_who_ask_within_a_moment_share_one(place: Place) -> None:
    await place.refs()
    asking = []
    for _ in range(10):
        asking += [asyncio.create_task(place.views.encoded(TOPIC)) for _ in range(10)]
        await asyncio.sleep(0.001)
    answers = await asyncio.gather(*asking)
    assert place.reads <= 4
    assert len({id(answer) for answer in answers}) <= 4
    place.version += 1
    place.held = [Row(0, "mine", "eve", {"phx_ref": "mine"})]
    assert "eve" in await place.refs()


async def test_without_the_board_it_is_what_this_node_knows(place: Place) -> None:
    place.away = True
    place.held = [Row(0, "mine", "eve", {"phx_ref": "mine"})]
    assert await place.refs() == {"eve": ["mine"]}
    assert place.views.partial == {TOPIC}
    with pytest.raises(Away):
        await place.views.plain(TOPIC)  # everybody would take it for the whole
    place.held = [Row(0, f"r{n}", f"p{n % 2}", {}) for n in range(4)]
    (_, state), (_, count) = await place.views.encoded(TOPIC)
    assert (bytes(state), bytes(count)) == (b"{}", b'{"count":2}')


async def test_who_gives_up_holds_nobody_up(place: Place) -> None:
    task = await place.asked()
    other = asyncio.create_task(place.refs())
    task.cancel()
    place.gate.set()
    assert await other == {"ann": ["ann1"], "bob": ["bob2"]}
