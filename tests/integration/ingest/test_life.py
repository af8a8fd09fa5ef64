"""How a role of ingest starts, tells its health, and ends."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.request

import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crown.errors import NotReady
from crown.notification.v1 import ingest_service_pb2_grpc
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.status_service_pb2 import GetReadinessRequest
from services.ingest.readiness import StatusService
from tests.integration.rig import SERVING, Rig

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ROLES = ("api", "dispatch", "record")


def test_nats_says_itself_that_it_syncs_always(rig: Rig) -> None:
    url = f"http://127.0.0.1:{rig.stack.settings.ports.nats_monitor}/varz"
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert json.load(answer)["jetstream"]["config"]["sync_always"] is True


async def test_each_role_serves_and_stops_when_told(rig: Rig) -> None:
    async def live(role: str) -> None:
        async with rig.running(role) as service:
            assert await service.metric("crown_bus_connected") == 1
            began = time.monotonic()
            await service.stop()
            assert time.monotonic() - began < 8
            assert service.events()[-1] == "stopped"

    await asyncio.gather(*(live(role) for role in ROLES))


@pytest.mark.parametrize(
    ("lanes", "nice"), [("critical", 0), ("critical,normal,bulk", 0), ("normal,bulk", 10)]
)
async def test_a_dispatcher_of_campaigns_leaves_the_processor_to_others(
    rig: Rig, lanes: str, nice: int
) -> None:
    async with rig.running("dispatch", CROWN_DISPATCH_LANES=lanes) as service:
        assert service.process is not None
        assert psutil.Process(service.process.pid).nice() == psutil.Process().nice() + nice


async def test_sigterm_finishes_what_is_under_way(rig: Rig) -> None:
    """Health says no at once; a call that the bus keeps waiting still gets its answer."""
    async with rig.running("api") as service:
        stub = ingest_service_pb2_grpc.IngestServiceStub(service.channel)
        request = SendNotificationRequest(type="IN_APP", user_id="u", data={"title": "x"})  # type: ignore[arg-type]
        metadata = (("authorization", f"Bearer {rig.token()}"),)
        watch = health_pb2_grpc.HealthStub(service.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        async with rig.suspended("nats"):
            call = stub.SendNotification(request, metadata=metadata, timeout=10)
            await asyncio.sleep(0.2)
            service.signal(signal.SIGTERM)
            assert (await asyncio.wait_for(watch.read(), 3)).status == NOT_SERVING
        assert (await call).notification_id
        watch.cancel()
        assert await service.ended() == 0


async def test_readiness_names_who_is_not(rig: Rig) -> None:
    stack = rig.stack.settings.ports
    async with rig.running("record") as record:
        status = StatusService(
            {"record": f"127.0.0.1:{record.port}", "email": f"127.0.0.1:{stack.nats_monitor}"}
        )
        with pytest.raises(NotReady, match="not ready: email") as caught:
            await status.GetReadiness(GetReadinessRequest(), None)
        assert caught.value.metadata == {"not_ready": "email"}
        await status.close()
        status = StatusService({"record": f"127.0.0.1:{record.port}"})
        assert list((await status.GetReadiness(GetReadinessRequest(), None)).ready) == ["record"]
        # Who answers may be the one.
        own = StatusService({"record": f"127.0.0.1:{record.port}"}, own=lambda: False)
        with pytest.raises(NotReady, match=r"not ready: ingest-api$"):
            await own.GetReadiness(GetReadinessRequest(), None)
        await own.close()
        record.signal(signal.SIGSTOP)
        with pytest.raises(NotReady, match="not ready: record"):
            await status.GetReadiness(GetReadinessRequest(), None)
        await status.close()


async def ended(rig: Rig, role: str, **given: str) -> tuple[int, str]:
    """Exit status and log of a process that cannot do its work."""
    async with rig.started(["-m", "services.ingest", role], role, **given) as service:
        return await service.ended(), service.log()


async def test_what_cannot_work_ends_and_says_why(rig: Rig) -> None:
    taken = str(rig.stack.settings.ports.nats)
    no_bus, no_store, no_port, no_role = await asyncio.gather(
        ended(rig, "api", NATS_PASSWORD="hunter2"),
        ended(rig, "dispatch", DATABASE_URL="mongodb://me:hunter2@127.0.0.1:9/crown"),
        ended(rig, "api", CROWN_METRICS_PORT=taken),
        ended(rig, "apple"),
    )
    for (status, log), reason in ((no_bus, "BUS_UNAVAILABLE"), (no_store, "STORE_UNAVAILABLE")):
        last = json.loads(log.splitlines()[-1])
        assert (status, last["event"], last["reason"]) == (1, "ended", reason)
        assert "hunter2" not in log
        assert "Traceback" not in log
    assert no_port[0] == 2
    assert "wrong setting  CROWN_METRICS_PORT" in no_port[1]
    assert no_role == (
        2,
        "usage: python -m services.ingest api | dispatch | record | webhook | filter | prepare\n",
    )
