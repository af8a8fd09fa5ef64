"""What operators see on `ops:metrics`: every process on the bus, as it is now, and only while somebody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from crown import metrics, subjects
from stack.tokens import Use
from tests.integration.rig import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from tests.integration.realtime.conftest import Nats, Node, Person, Publisher, Trust

TOPIC = "ops:metrics"
LIMIT_S = 15.0


async def told(operator: Person, enough: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The first word of the topic that `enough` accepts."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            *_, topic, event, payload = await operator.hear()
            assert (topic, event) == (TOPIC, "metrics")
            if enough(payload):
                found: dict[str, Any] = payload
                return found


def process(payload: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What is told of the process that is called so."""
    return next((one for one in payload["processes"] if one["process"] == name), None)


@asynccontextmanager
async def watching(node: Node, trust: Trust) -> AsyncIterator[Person]:
    """An operator who looks."""
    async with node.person(trust.token("olga", Use.OPERATOR)) as operator:
        assert (await operator.join(TOPIC))["status"] == "ok"
        yield operator


async def test_every_process_is_seen(node: Node, trust: Trust, publisher: Publisher) -> None:
    del publisher
    async with watching(node, trust) as operator:
        found = await told(operator, lambda payload: len(payload["processes"]) >= 2)
        ours, theirs = process(found, "tests"), process(found, "realtime")
        assert ours is not None
        assert theirs is not None
        assert theirs["levels"]["crown_sockets"] == [[{}, 1.0]]
        assert theirs["levels"]["process_resident_memory_bytes"][0][1] > 10_000_000
        assert ours["place"] != theirs["place"]


async def test_what_is_counted_moves(node: Node, trust: Trust, publisher: Publisher) -> None:
    del publisher
    lane = metrics.ACCEPTED.labels("of this test")
    async with watching(node, trust) as operator:
        await told(operator, lambda payload: process(payload, "tests"))
        lane.inc(5)
        found = await told(operator, lambda payload: "crown_accepted_total" in payload["rates"])
        ((labels, rate),) = found["rates"]["crown_accepted_total"]
        assert labels == {"lane": "of this test"}
        assert 0 < rate <= 10
        # It stands still again.
        await told(operator, lambda payload: "crown_accepted_total" not in payload["rates"])


async def test_nobody_is_asked_while_nobody_looks(
    own_nats: Nats, run_node: Any, publish_on: Any, trust: Trust
) -> None:
    async with run_node(own_nats) as node, publish_on(own_nats) as publisher:
        asked: asyncio.Queue[str] = asyncio.Queue()

        async def note(message: Msg) -> None:
            asked.put_nowait(message.subject)

        await publisher.bus.client.subscribe(subjects.VITALS_ASKED, cb=note)
        # Several periods: nothing.
        await asyncio.sleep(2.5)
        assert asked.empty()
        async with watching(node, trust) as operator:
            await told(operator, bool)
            assert not asked.empty()
        await until(lambda: node.metric("crown_sockets"), lambda open: open == 0)
        # The one that was under way may still come.
        await asyncio.sleep(1.1)
        while not asked.empty():
            asked.get_nowait()
        await asyncio.sleep(2.5)
        assert asked.empty()


async def test_what_is_no_snapshot_is_passed_over(node: Node, trust: Trust, publisher: Publisher) -> None:
    async with watching(node, trust) as operator:
        await told(operator, bool)
        for body in (b"", b"{}", b"\xff", b'{"process": "x", "samples": 3}'):
            await publisher.bus.client.publish(subjects.VITALS_TOLD, body)
        await publisher.bus.client.flush()
        found = await told(operator, lambda payload: process(payload, "tests"))
        assert {one["process"] for one in found["processes"]} == {"tests", "realtime"}
        first = found["time"]
        await told(operator, lambda payload: payload["time"] > first + 1.5)


async def test_figures_come_again_after_the_bus_was_away(own_nats: Nats, run_node: Any, trust: Trust) -> None:
    async with run_node(own_nats) as node, watching(node, trust) as operator:
        await told(operator, bool)
        await own_nats.kill()
        await asyncio.sleep(1.5)
        await own_nats.start()
        async with asyncio.timeout(LIMIT_S):
            while True:
                *_, event, payload = await operator.hear(LIMIT_S)
                row = process(payload, "realtime") if event == "metrics" else None
                if row is not None and row["silent_s"] < 2 and row["rates"]:
                    break


async def test_only_operators(node: Node, trust: Trust) -> None:
    for use in (Use.USER, Use.SERVICE):
        async with node.person(trust.token("mallory", use)) as person:
            answer = await person.join(TOPIC)
            assert (answer["status"], answer["response"]["reason"]) == ("error", "NOT_ALLOWED")
            assert answer["response"]["message"] == "this topic is for operators"
            await person.silence(1.5)
