"""Sizes: what is too large is a 413 or 431 before it reaches a service, chunked or not."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

SEND = "/api/v1/notifications"
BULK = "/api/v1/notifications/bulk"
JSON = {"content-type": "application/json"}
KIB = 1024


def padded(size_bytes: int) -> bytes:
    """An empty JSON object of that size."""
    return b"{" + b" " * (size_bytes - 2) + b"}"


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    """The body without its length."""
    for start in range(0, len(body), 64 * KIB):
        yield body[start : start + 64 * KIB]


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
@pytest.mark.parametrize(("path", "most"), [(SEND, 256 * KIB), (BULK, 4096 * KIB)], ids=["one", "bulk"])
async def test_takes_a_body_up_to_its_limit(gateway: Gateway, path: str, most: int, chunked: bool) -> None:
    def body(size: int) -> io.BytesIO | AsyncIterator[bytes]:
        return chunks(padded(size)) if chunked else io.BytesIO(padded(size))

    assert (await gateway.send("POST", path, data=body(most), headers=JSON)).status == 200
    reply = await gateway.send("POST", path, data=body(most + 1), headers=JSON)
    assert (reply.status, reply.json["code"]) == (413, 8)
    assert reply.json["details"][0]["reason"] == "PAYLOAD_TOO_LARGE"
    assert len(gateway.backend.calls) == 1


async def test_asks_for_no_body_that_it_will_not_take(gateway: Gateway) -> None:
    """With Expect: 100-continue, too, the answer is the refusal."""
    reply = await gateway.send(
        "POST", SEND, data=io.BytesIO(padded(2048 * KIB)), headers=JSON, expect100=True
    )
    assert reply.status == 413


@pytest.mark.parametrize(
    "headers",
    [{"x-large": "a" * 100_000}, {f"x-{number}": "1" for number in range(1000)}],
    ids=["100 KB in one header", "1,000 headers"],
)
async def test_takes_no_mountain_of_headers(gateway: Gateway, headers: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reply = await gateway.raw(f"GET /healthz HTTP/1.1\r\nhost: a\r\n{lines}\r\n".encode())
    assert (reply.status, reply.json["code"]) == (431, 8)
    assert reply.json["details"][0]["reason"] == "PAYLOAD_TOO_LARGE"


async def test_a_service_takes_as_many_headers_as_the_gateway(gateway: Gateway) -> None:
    headers = {"x-large": "a" * 7000}
    assert (await gateway.send("GET", "/api/v1/users/u1/notifications", headers=headers)).status == 200
