"""Calls that need no token: so many a second of an address and no more, in the one shape of an error; and those of
which nothing comes take nobody's place."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import h2.events
import pytest
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.gateway.conftest import serving
from tests.integration.gateway.test_grpc_refusals import reason
from tests.integration.gateway.test_http2 import crowd, peer, request

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

LIST = "/api/v1/users/user123/notifications"
STATUS = "/crown.notification.v1.StatusService/GetReadiness"
# A second; ten times that at once. What providers call has more.
RATE, CALLBACKS = 3, 10
OPEN = ("/readyz", "/readyz?", "/demo", "/demo?a=b", "/console", "/openapi.yaml", "/unsubscribe/nobody")


@pytest.fixture(scope="module")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway with small limits, behind one balancer."""
    rates = {"GATEWAY_OPEN_RATE": str(RATE), "GATEWAY_CALLBACK_RATE": str(CALLBACKS)}
    async with serving(tmp_path_factory.mktemp("strict"), **rates, GATEWAY_TRUSTED_HOPS="1") as found:
        yield found


def of(address: str) -> dict[str, str]:
    """The headers of a client as the balancer sends them."""
    return {"x-forwarded-for": f"203.0.113.99, {address}"}


def reason_of(refused: grpc.aio.AioRpcError) -> str:
    """As the details have it, wherever the gateway has put them."""
    told = dict(refused.initial_metadata() or ()) | dict(refused.trailing_metadata() or ())
    status = status_pb2.Status.FromString(bytes(told["grpc-status-details-bin"]))
    return reason(status)


async def statuses(
    gateway: Gateway, path: str, address: str, number: int, method: str = "GET"
) -> Counter[int]:
    replies = [await gateway.send(method, path, token=None, headers=of(address)) for _ in range(number)]
    return Counter(reply.status for reply in replies)


@pytest.mark.parametrize("path", OPEN)
async def test_an_address_has_so_many_calls_and_others_have_theirs(strict: Gateway, path: str) -> None:
    mine, theirs = (f"198.51.100.{10 * OPEN.index(path) + at}" for at in range(2))
    first = await statuses(strict, path, mine, RATE * 10)
    assert set(first) == {200}
    found = await statuses(strict, path, mine, RATE * 10)
    assert found[429] > RATE * 5
    assert set(await statuses(strict, path, theirs, RATE * 10)) == {200}
    # A second later it is as many as a second has.
    await asyncio.sleep(1.1)
    assert (await statuses(strict, path, mine, 1)) == {200: 1}


async def test_kinds_of_paths_share_what_an_address_has(strict: Gateway) -> None:
    await statuses(strict, "/readyz", "198.51.100.100", RATE * 10)
    assert (await statuses(strict, "/demo", "198.51.100.100", RATE * 5))[429] > 0


async def test_a_network_of_ipv6_is_one_address(strict: Gateway) -> None:
    found: Counter[int] = Counter()
    for number in range(RATE * 20):
        found += await statuses(strict, "/readyz", f"2001:db8:1:2::{number:x}", 1)
    assert found[429] > RATE * 5
    assert await statuses(strict, "/readyz", "2001:db8:1:3::1", 1) == {200: 1}


async def test_who_comes_too_often_is_told_in_the_one_shape(strict: Gateway) -> None:
    address = "198.51.100.110"
    await statuses(strict, "/readyz", address, RATE * 20)
    reply = await strict.send("GET", "/readyz", token=None, headers=of(address))
    assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (429, 8, "1")
    assert reply.json["details"][0]["reason"] == "RATE_LIMITED"
    assert "x-envoy-ratelimited" not in reply.headers
    browser = of(address) | {"accept": "text/html"}
    page = await strict.send("GET", "/unsubscribe/nobody", token=None, headers=browser)
    assert (page.status, page.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert "Not now" in page.text
    async with strict.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health.Check(health_pb2.HealthCheckRequest(), metadata=tuple(of(address).items()))
    assert (refused.value.code(), reason_of(refused.value)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
    )


async def test_who_has_a_token_is_left_alone(strict: Gateway) -> None:
    address = "198.51.100.120"
    await statuses(strict, "/readyz", address, RATE * 20)
    replies = [await strict.send("GET", LIST, headers=of(address)) for _ in range(RATE * 20)]
    assert {reply.status for reply in replies} == {200}
    assert {(await strict.send("GET", "/healthz", headers=of(address))).status for _ in range(RATE * 20)} == {
        200
    }


async def test_providers_have_more(strict: Gateway) -> None:
    path, address = "/webhooks/twilio/status", "198.51.100.130"
    form = of(address) | {"content-type": "application/json"}

    async def call() -> int:
        return (await strict.send("POST", path, token=None, headers=form, json={})).status

    assert 429 not in {await call() for _ in range(CALLBACKS * 10)}
    assert 429 in {await call() for _ in range(CALLBACKS * 10)}


async def test_what_a_client_says_of_its_address_counts_for_nothing(
    gateway: Gateway, strict: Gateway
) -> None:
    """Neither before the balancer nor without one: the services hear one address, that of the client."""
    headers = of("198.51.100.140")
    await strict.send("GET", LIST, headers=headers | {"x-forwarded-host": "evil", "x-forwarded-fo": "evil"})
    assert strict.backend.calls[-1].metadata["x-forwarded-for"] == "198.51.100.140"
    assert "evil" not in strict.backend.calls[-1].metadata.values()
    await gateway.send("GET", LIST, headers=headers)
    assert gateway.backend.calls[-1].metadata["x-forwarded-for"] == "127.0.0.1"


async def test_a_real_address_counts_where_no_balancer_is_trusted(tmp_path: Path) -> None:
    async with serving(tmp_path, GATEWAY_OPEN_RATE=str(RATE)) as gateway:

        def status(address: str) -> int:
            with contextlib.closing(
                http.client.HTTPConnection("127.0.0.1", gateway.port, source_address=(address, 0))
            ) as connection:
                said = {"x-forwarded-for": f"198.51.100.{time.monotonic_ns() % 250}"}
                connection.request("GET", "/demo", headers=said)
                return connection.getresponse().status

        def found() -> tuple[Counter[int], int]:
            return Counter(status("127.0.0.1") for _ in range(RATE * 20)), status("127.0.0.2")

        mine, theirs = await asyncio.to_thread(found)
    assert mine[429] > RATE * 5
    assert theirs == 200


@pytest.fixture(scope="module")
async def unlimited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """A gateway that takes open calls as fast as they come: what is left are the places."""
    async with serving(tmp_path_factory.mktemp("unlimited"), GATEWAY_OPEN_RATE="0") as found:
        yield found


def without_token(gateway: Gateway, path: str) -> list[tuple[str, str]]:
    fields = [pair for pair in request(gateway, path, "POST") if pair[0] != "authorization"]
    return [*fields, ("content-type", "application/grpc"), ("te", "trailers")]


@pytest.mark.parametrize("path", [STATUS, "/grpc.health.v1.Health/Check"])
async def test_what_never_comes_whole_takes_no_place_and_is_given_up_soon(
    unlimited: Gateway, path: str
) -> None:
    """Twice as many calls as have a place at the service, of which no message comes."""
    began = time.monotonic()
    fields = without_token(unlimited, path)
    waiting = [asyncio.create_task(crowd(unlimited, fields, 1_000, flags=0)) for _ in range(2)]
    while not all(task.done() for task in waiting):
        assert (await unlimited.send("GET", LIST)).status == 200
        await asyncio.sleep(0.1)
    # DEADLINE_EXCEEDED, or CANCELLED where its stream was reset.
    told = sum((task.result() for task in waiting), Counter())
    assert told == {"4": 2_000}, told
    assert 4 < time.monotonic() - began < 15


@pytest.mark.parametrize("path", [STATUS, "/grpc.health.v1.Health/Check"])
async def test_what_anybody_may_ask_by_grpc_is_small(gateway: Gateway, path: str) -> None:
    """Of what comes in several frames the gateway keeps 4 KiB at most. An unknown field makes a message large."""

    async with gateway.channel() as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        await call(b"\x7a\x01a", timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"\x7a\x80\x80\x04" + b"a" * 65_536, timeout=10)
    assert (refused.value.code(), reason_of(refused.value)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "PAYLOAD_TOO_LARGE",
    )


async def test_what_is_watched_has_few_places_of_its_own(unlimited: Gateway) -> None:
    fields, call = without_token(unlimited, "/grpc.health.v1.Health/Watch"), b"\0\0\0\0\0"
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            found = await stack.enter_async_context(peer(unlimited))
            for _ in range(900):
                stream = found.state.get_next_available_stream_id()
                found.state.send_headers(stream, fields)
                found.state.send_data(stream, call, end_stream=True)
                await found.send()
        told: Counter[str] = Counter()
        async for event in found.events(3):
            if isinstance(event, h2.events.ResponseReceived):
                named = {bytes(k): bytes(v).decode() for k, v in event.headers}
                told[named.get(b"grpc-status", "watched")] += 1
        # UNAVAILABLE
        assert told["14"] >= 800
        assert (await unlimited.send("GET", LIST)).status == 200
        assert (await unlimited.send("GET", "/readyz", token=None)).status == 200
