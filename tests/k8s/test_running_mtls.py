"""The containers with TLS between them, run as they are written: probes pass, a notification goes through, and nobody
who shows nothing gets anything."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stack import tokens
from tests.k8s.cluster import _until, become
from tests.k8s.test_running import PROBES, Running, started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("cluster"), "mtls") as suite:
        yield suite


@pytest.mark.parametrize("kind", PROBES)
def test_every_probe_passes(running: Running, kind: str) -> None:
    for one in running.deployments():
        become(running.box(one["metadata"]["name"]), one, kind)


def test_all_parts_hear_each_other(running: Running) -> None:
    def ready() -> bool:
        return running.ask("GET", "/readyz")[0] == 200

    _until(ready, f"not ready: {running.ask('GET', '/readyz')}")


def test_a_notification_goes_through(running: Running) -> None:
    token = running.token(tokens.Use.SERVICE, "feed")
    content = {"title": "Hello", "message": "by TLS"}
    body = {"type": "in_app", "user_id": "ann", "data": content}
    status, answer = running.ask("POST", "/api/v1/notifications", token, body)
    assert status == 200, answer
    ann = running.token(tokens.Use.USER, "ann")

    def found() -> bool:
        return "by TLS" in str(running.ask("GET", "/api/v1/users/ann/notifications", ann)[1])

    _until(found, "the inbox does not show it")


def test_nobody_speaks_in_the_clear(running: Running) -> None:
    for one in running.deployments():
        box = running.box(one["metadata"]["name"])
        if box.name == "gateway":
            continue
        with grpc.insecure_channel(f"{box.address}:50051") as channel:
            with pytest.raises(grpc.RpcError):
                health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
