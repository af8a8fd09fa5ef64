"""Minutes of load, with callers that give up and sockets that come and go: nothing grows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import grpc.aio
import pytest

from crown.notification.v1 import ingest_service_pb2_grpc as ingest_grpc
from crown.notification.v1.ingest_service_pb2 import GetNotificationRequest
from crown.notification.v1.realtime_service_pb2 import SubscribeRequest
from crown.notification.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from stack.control import Stack
from tests.fault.checker import Bounds
from tests.fault.evidence import Most
from tests.fault.run import Course, Spec, run
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

# It lasts as long as `--soak-s` says; every wait in it has a limit of its own.
pytestmark = pytest.mark.timeout(0)

SEED = 1
ROUND, RATE = 400, 40.0
# Streams and questions each second that their callers give up.
GIVEN_UP = 50
# Within its last two thirds.
GROWTH_MOST_MB = 25.0
DESCRIPTORS_MORE = 20


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(29_200, people=100, given={"CROWN_EMAIL_PROVIDERS": "sendgrid"})


async def test_nothing_grows(
    scene: Site, tmp_path: Path, results: list[Result], pytestconfig: pytest.Config
) -> None:
    soak_s: float = pytestconfig.getoption("soak_s")

    async def mixed(course: Course) -> None:
        """Callers that give up, and sockets that come and go, all the time."""
        ends = time.monotonic() + soak_s
        while time.monotonic() < ends:
            await asyncio.gather(_give_up(scene.stack), course.chance.choice(scene.listeners).drop())
            await asyncio.sleep(1)

    spec = Spec(
        f"none, {soak_s:g} s, callers give up and sockets come and go",
        ROUND,
        RATE,
        SEED,
        Bounds(restarts=()),
        until_over=True,
    )
    await scene.begin(empty=True)
    await run(scene, spec, mixed, tmp_path, results)
    growing = {name: slope for name, most in scene.series.items() if (slope := _growth(most)) is not None}
    assert growing == {}


async def _give_up(stack: Stack) -> None:
    """Streams that are cancelled as soon as they stand, and questions whose answer nobody waits for."""
    user = "fan-0"
    own = (("authorization", f"Bearer {stack.token(user=user)}"),)
    feed = (("authorization", f"Bearer {stack.token(service='feed')}"),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{stack.settings.ports.gateway}") as channel:
        streams = [
            RealtimeServiceStub(channel).Subscribe(SubscribeRequest(user_id=user), metadata=own)
            for _ in range(GIVEN_UP)
        ]
        asked = GetNotificationRequest(notification_id="0" * 36)
        calls = [
            ingest_grpc.IngestServiceStub(channel).GetNotification(asked, metadata=feed, timeout=10)
            for _ in streams
        ]
        await asyncio.sleep(0.1)
        for call in (*streams, *calls):
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


def _growth(series: Sequence[Most]) -> str | None:
    """By how much it grew in its last two thirds, where that is too much."""
    third = len(series) // 3
    before, after = series[third : 2 * third], series[2 * third :]
    rss_mb = _middle([one.rss_mb for one in after]) - _middle([one.rss_mb for one in before])
    descriptors = _middle([one.descriptors for one in after]) - _middle([one.descriptors for one in before])
    if rss_mb <= GROWTH_MOST_MB and descriptors <= DESCRIPTORS_MORE:
        return None
    return f"{rss_mb:+.0f} MB, {descriptors:+.0f} descriptors"


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
