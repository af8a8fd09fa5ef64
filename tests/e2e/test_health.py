"""Whether the suite tells truly how it is."""

from __future__ import annotations

import signal

import pytest

from stack.control import Stack
from stack.services import ROLES
from tests.e2e.arrivals import Ledger
from tests.e2e.people import Person, data
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

PROCESSES = [role.name for role in ROLES]
PARTS = sorted(name for name in PROCESSES if name != "ingest-api")
AWAY = frozenset({503})


async def test_the_gateway_is_alive(rest: Rest) -> None:
    assert (await rest.nobody.get("/healthz")).ok == {"status": "ok"}


async def test_all_are_ready(rest: Rest) -> None:
    assert (await rest.nobody.get("/readyz")).ok == {"ready": PARTS}


@pytest.mark.parametrize("name", ["sms", "ingest-dispatch"])
async def test_who_hangs_is_named(rest: Rest, stack: Stack, name: str) -> None:
    pid = stack.kill(name, signal.SIGSTOP)
    try:
        answer = await rest.nobody.get("/readyz", faults=AWAY)
        assert (answer.status, answer.problem.code, answer.problem.reason) == (503, 14, "NOT_READY")
        assert answer.problem.metadata["not_ready"] == name
        assert name in answer.problem.message
        assert int(answer.headers["retry-after"]) >= 1
        # Alive it is all the same.
        assert (await rest.nobody.get("/healthz")).status == 200
    finally:
        stack.kill(name, signal.SIGCONT)
    await until(lambda: rest.nobody.get("/readyz", faults=AWAY), lambda found: found.status == 200)
    assert stack.wait_healthy(name).pid == pid


async def test_what_waited_for_a_hanging_part_arrives(
    rest: Rest, stack: Stack, feed: Caller, person: Person, ledger: Ledger
) -> None:
    stack.kill("push", signal.SIGSTOP)
    try:
        sent = await feed.send("push", user_id=person.user_id, data=data())
        # The other channels are not held up.
        other = await feed.send("sms", user_id=person.user_id, data=data())
        assert (await feed.outcome(other))["state"] == "DELIVERED_TO_PROVIDER"
        assert await ledger.entries(notification_id=sent) == []
    finally:
        stack.kill("push", signal.SIGCONT)
    assert (await ledger.effect(sent))["recipient"] == person.device_token
    await until(lambda: rest.nobody.get("/readyz", faults=AWAY), lambda found: found.status == 200)


@pytest.mark.parametrize("name", PROCESSES)
async def test_metrics(rest: Rest, stack: Stack, name: str) -> None:
    url = f"http://127.0.0.1:{stack.settings.ports.metrics(name)}/metrics"
    async with rest.http.get(url) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        text = await answer.text()
    assert "\ncrown_bus_connected 1.0\n" in text
    assert "\nprocess_resident_memory_bytes " in text


async def test_what_happened_is_counted(rest: Rest, stack: Stack, feed: Caller, person: Person) -> None:
    async def counted(process: str, series: str) -> float:
        url = f"http://127.0.0.1:{stack.settings.ports.metrics(process)}/metrics"
        async with rest.http.get(url) as answer:
            lines = (await answer.text()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))

    wanted = {
        ("ingest-api", 'crown_accepted_total{lane="normal"}'): 1,
        ("ingest-dispatch", 'crown_dispatched_total{channel="push",state="PENDING"}'): 1,
        ("push", 'crown_outcomes_total{channel="push",outcome="Delivered",provider="fcm"}'): 1,
    }
    before = {key: await counted(*key) for key in wanted}
    await feed.settled(await feed.send("push", user_id=person.user_id, data=data()))
    assert {key: await counted(*key) - before[key] for key in wanted} == wanted
