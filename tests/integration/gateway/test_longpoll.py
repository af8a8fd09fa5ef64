"""Polls pass at one path, without a token for the gateway, and its own answers there are what phoenix.js takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway

PATH = "/socket/longpoll?vsn=2.0.0&token=t"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_polls_pass_without_a_token(gateway: Gateway, method: str) -> None:
    headers = {
        "x-phoenix-authtoken": "a",
        "x-phoenix-longpoll-token": "b",
        "content-type": "application/x-ndjson",
    }
    body: dict[str, Any] = {"data": b"[]"} if method == "POST" else {}
    reply = await gateway.send(method, PATH, token=None, headers=headers, **body)
    seen = json.loads(reply.text)
    assert (reply.status, seen["method"], seen["path"]) == (200, method, PATH)
    assert seen["body"] == ("[]" if method == "POST" else "")
    passed = {name.lower(): value for name, value in seen["headers"].items()}
    assert headers.items() <= passed.items()


async def test_who_may_read_the_answer_is_the_services_to_say(gateway: Gateway) -> None:
    for origin in ("https://app.example", "https://other.example"):
        asked = {"origin": origin, "access-control-request-method": "POST"}
        for method in ("GET", "OPTIONS"):
            async with gateway.http.request(method, gateway.url + PATH, headers=asked) as answer:
                assert answer.status == 200
                assert answer.headers.getall("access-control-allow-origin") == [origin]
                assert "access-control-expose-headers" not in answer.headers
                assert (await answer.json())["method"] == method


async def test_bodies_are_bounded(gateway: Gateway) -> None:
    reply = await gateway.send("POST", PATH, token=None, data=b"x" * (512 << 10))
    assert json.loads(reply.text)["size"] == 512 << 10
    reply = await gateway.send("POST", PATH, token=None, data=b"x" * ((512 << 10) + 1))
    assert (reply.status, reply.json) == (413, {"status": 500})


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
async def test_other_methods_are_refused(gateway: Gateway, method: str) -> None:
    reply = await gateway.send(method, PATH, token=None)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, POST, OPTIONS")


async def test_a_service_that_fails_is_told_in_the_body(gateway: Gateway) -> None:
    reply = await gateway.send("GET", f"{PATH}&hang", token=None)
    assert (reply.status, reply.json) == (503, {"status": 500})


async def test_below_the_path_is_nothing(gateway: Gateway) -> None:
    reply = await gateway.send("GET", "/socket/longpoll/x", token=None)
    assert reply.status == 426
