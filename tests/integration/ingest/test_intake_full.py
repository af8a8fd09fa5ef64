"""A full intake says no at once, loses nothing, and takes again as soon as there is room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

import grpc
import pytest

from crown import subjects
from services.ingest.books import janitor
from services.ingest.books.janitor import Janitor
from tests.integration.api import Api, request
from tests.integration.local import Local
from tests.integration.rig import Rig, until

FULL = (grpc.StatusCode.UNAVAILABLE, "INTAKE_FULL", 1.0)
SMALL = {"CROWN_STREAM_MAX_BYTES": str(1 << 16)}
BODY = {"title": "x" * 200, "message": "y" * 4_000}


@pytest.fixture(scope="module")
async def local(rig: Rig) -> AsyncIterator[Local]:
    """As everywhere, with streams that are soon full."""
    made = await Local.connect(rig, **SMALL)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def api(rig: Rig) -> AsyncIterator[Api]:
    """The API, with such streams."""
    async with rig.running("api", **SMALL) as service:
        yield Api(rig, service)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitor, "_PERIOD_S", 0.2)


async def fill(api: Api) -> list[str]:
    """Sends until the intake is full; answers the ids."""
    found: list[str] = []
    while sent := await taken(api):
        found.append(sent)
        assert len(found) < 100, "it never fills"
    return found


async def drained(local: Local) -> None:
    """Dispatches and purges what waits."""
    async with local.dispatching(), local.working(Janitor(local.bus).run):
        await until(lambda: local.messages("INTAKE_normal"), lambda left: left == 0)


async def test_it_refuses_takes_again_and_loses_nothing(api: Api, local: Local) -> None:
    accepted = await fill(api)
    assert len(accepted) > 5
    began = time.monotonic()
    assert await api.refused(data=BODY) == FULL
    assert time.monotonic() - began < 1
    # A hundred at once hear it as quickly as one.
    refused = await asyncio.gather(*(api.refused(data=BODY) for _ in range(100)))
    assert set(refused) == {FULL}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.bulk(request(data=BODY), request(data=BODY))
    assert caught.value.code() is FULL[0]
    # The other lanes have streams of their own.
    await api.send(data=BODY, priority="CRITICAL")
    assert await api.service.metric("crown_refused_total", reason="INTAKE_FULL") >= 103

    async with local.dispatching(), local.working(Janitor(local.bus).run):
        again = await until(lambda: taken(api), within_s=10)
        for notification_id in [*accepted, again]:
            await until(partial(local.rows, notification_id))


async def taken(api: Api) -> str:
    try:
        return await api.send(data=BODY)
    except grpc.aio.AioRpcError:
        return ""


async def test_a_key_that_was_refused_is_free_and_one_that_was_not_is_not(api: Api, local: Local) -> None:
    kept = await api.send(key="kept", data=BODY)
    await fill(api)
    assert await api.refused(key="free", data=BODY) == FULL
    # A retry of what was accepted is refused like all else, and that frees nothing.
    assert await api.refused(key="kept", data=BODY) == FULL
    await local.bus.api("STREAM.PURGE.INTAKE_normal", {"filter": subjects.intake("normal"), "keep": 1})
    await api.send(key="free", data={"title": "another body"})
    code, reason, _ = await api.refused(key="kept", data={"title": "another body"})
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "KEY_REUSED")
    assert await api.send(key="kept", data=BODY) == kept
    await drained(local)
