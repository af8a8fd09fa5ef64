"""The bus hangs, dies and comes back under load: "yes" is stored, "no" is not, and all else is "unknown"."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import pytest

from crown import subjects
from crown.notification.v1.events_pb2 import IntakeEvent
from tests.integration.api import Api, request
from tests.integration.local import Local
from tests.integration.rig import Rig, until

OK = grpc.StatusCode.OK
NO = grpc.StatusCode.UNAVAILABLE
UNKNOWN = grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(scope="module")
async def api(rig: Rig) -> AsyncIterator[Api]:
    """The API, in a process of its own."""
    async with rig.running("api") as service:
        yield Api(rig, service)


@dataclass
class Load:
    """Sends from many callers until told to stop; what each was told, by the person that it was for."""

    api: Api
    told: dict[str, grpc.StatusCode] = field(default_factory=dict)
    stopping: bool = False

    async def run(self, name: str, callers: int = 30) -> None:
        """Works until `stopping`; each caller waits for an answer before it sends again."""
        await asyncio.gather(*(self._caller(f"{name}-{number}") for number in range(callers)))

    async def _caller(self, name: str) -> None:
        number = 0
        while not self.stopping:
            number += 1
            person = f"{name}-{number}"
            try:
                if number % 5:
                    await self.api.send(user_id=person, timeout_s=3)
                else:
                    # A bulk: its messages are stored together or not at all.
                    await self.api.bulk(*(request(user_id=person) for _ in range(3)))
                self.told[person] = OK
            except grpc.aio.AioRpcError as error:
                self.told[person] = error.code()
                await asyncio.sleep(0.05)

    def count(self, code: grpc.StatusCode) -> int:
        """How many were told so."""
        return sum(found is code for found in self.told.values())


async def stored(local: Local) -> set[str]:
    """The people on the intake."""
    raw = await local.stored("INTAKE_normal", subjects.intake("normal"))
    return {IntakeEvent.FromString(one).user_ids[0] for one in raw}


async def _kill(rig: Rig) -> None:
    await rig.killed("nats")


async def _hang(rig: Rig) -> None:
    """Longer than a publish waits, shorter than a link takes to be noticed as dead."""
    async with rig.suspended("nats"):
        await asyncio.sleep(3.5)


@pytest.mark.parametrize("trouble", [_kill, _hang], ids=["killed", "hangs"])
async def test_nobody_is_told_what_is_not_so(
    rig: Rig, api: Api, local: Local, trouble: Callable[[Rig], Awaitable[None]]
) -> None:
    load = Load(api)
    running = asyncio.create_task(load.run(trouble.__name__.strip("_")))
    await until(lambda: _is(load.count(OK) > 100))
    await trouble(rig)
    before = load.count(OK)
    await until(lambda: _is(load.count(OK) > before + 100))  # unaided
    load.stopping = True
    await running

    assert set(load.told.values()) <= {OK, NO, UNKNOWN}
    await until(lambda: _is(local.bus.connected))
    found = await stored(local)
    told_yes = {person for person, code in load.told.items() if code is OK}
    told_no = {person for person, code in load.told.items() if code is NO}
    assert told_yes <= found
    assert not told_no & found


async def _is(found: bool) -> bool:
    return found


async def test_while_it_is_away_the_answer_comes_at_once(rig: Rig, api: Api) -> None:
    killing = asyncio.create_task(rig.killed("nats"))
    await until(lambda: api.service.metric("crown_bus_connected"), lambda connected: connected == 0)
    began = time.monotonic()
    try:
        found = await api.refused()
    except BaseException:
        # It came back in this very moment, and then there is nothing to refuse.
        assert await api.service.metric("crown_bus_connected") == 1
    else:
        assert time.monotonic() - began < 1
        assert found == (NO, "BUS_UNAVAILABLE", 1.0)
    await killing
    await until(lambda: api.service.metric("crown_bus_connected"), lambda connected: connected == 1)
    await api.send()


async def test_an_unknown_one_is_found_by_its_key(rig: Rig, api: Api, local: Local) -> None:
    async with rig.suspended("nats"):
        code, reason, after_s = await api.refused(key="unknown", user_id="unknown", timeout_s=0.5)
        assert (code, reason, after_s) == (UNKNOWN, "OUTCOME_UNKNOWN", None)
    notification_id = await api.send(key="unknown", user_id="unknown")
    assert await api.send(key="unknown", user_id="unknown") == notification_id
    async with local.dispatching():
        await until(lambda: local.rows(notification_id))
        await until(lambda: local.backlog(subjects.dispatcher("normal")), lambda left: left == 0)
    assert await local.db.ledger.count_documents({"user_id": "unknown"}) == 1
