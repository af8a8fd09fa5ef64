"""What is for who runs the suite is not to be had at the address that is for everybody."""

from __future__ import annotations

import asyncio

import grpc
import psutil
import pytest

from stack.control import Stack
from tests.e2e.rest import Rest

# Of Envoy's admin, NATS' monitor, and the metrics of processes.
PATHS = (
    *(
        "/config_dump",
        "/clusters",
        "/stats",
        "/stats/prometheus",
        "/server_info",
        "/certs",
        "/listeners",
        "/memory",
    ),
    *("/varz", "/jsz", "/connz", "/subsz", "/routez", "/accountz", "/healthz?js-enabled-only=true"),
    *(
        "/metrics",
        "/debug/pprof/",
        "/logging",
        "/runtime",
        "/contention",
        "/cpuprofiler",
        "/hot_restart_version",
    ),
)
ORDERS = ("/quitquitquit", "/healthcheck/fail", "/drain_listeners", "/reset_counters", "/logging?level=off")
# What none of their answers goes without.
TELLS = ("envoy.", "server_id", "jetstream", "# TYPE", "process_cpu", "concurrency", "dynamic_listeners")


@pytest.mark.parametrize("path", PATHS)
async def test_no_admin_page_is_had_through_the_gateway(rest: Rest, path: str) -> None:
    async with rest.http.get(f"http://{rest.address}{path}") as answer:
        text = await answer.text()
    assert answer.status == 404 or (path.startswith("/healthz") and answer.status == 200)
    assert not [word for word in TELLS if word in text]


@pytest.mark.parametrize("path", ORDERS)
async def test_no_admin_order_is_taken_through_the_gateway(rest: Rest, path: str) -> None:
    async with rest.http.post(f"http://{rest.address}{path}") as answer:
        assert answer.status == 404
    async with rest.http.get(f"http://{rest.address}/healthz") as answer:
        assert answer.status == 200


async def test_nobody_looks_into_channels(channel: grpc.aio.Channel) -> None:
    for method in (
        "/grpc.channelz.v1.Channelz/GetServers",
        "/envoy.service.status.v3.ClientStatusDiscoveryService/X",
    ):
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_all_but_the_gateway_listen_on_loopback(stack: Stack) -> None:
    ports = stack.settings.ports
    # The metrics of every process, and what the servers have for those who run them.
    inside = {ports.envoy_admin, ports.nats, ports.nats_monitor, ports.mongod, ports.valkey}
    inside |= {
        ports.metrics(one.name) for one in stack.status() if one.name.startswith(("ingest", "email", "push"))
    }
    inside |= {ports.metrics(name) for name in ("sms", "realtime")}
    connections = await asyncio.to_thread(psutil.net_connections, "tcp")
    listening = (one.laddr for one in connections if one.laddr and one.status == psutil.CONN_LISTEN)
    found = {address.port: address.ip for address in listening}
    assert {port: found.get(port) for port in inside} == dict.fromkeys(inside, "127.0.0.1")
