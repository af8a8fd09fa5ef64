"""What every answer says beside its body: to browsers, what they may do with it; to strangers, nothing of us."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Gateway, Reply

APP = "https://app.example"
SEND = "/api/v1/notifications"
LIST = "/api/v1/users/user123/notifications"
JSON = {"content-type": "application/json"}
BROWSER = {"accept": "text/html"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
# (method, path, headers) of an answer of each kind: of a service, of the gateway itself, and of a filter in it.
ANSWERS = {
    "one of a service": ("GET", LIST, {}),
    "one to a post": ("POST", SEND, JSON),
    "no token": ("GET", LIST, {"authorization": "none"}),
    "a bad token": ("GET", LIST, {"authorization": "Bearer x"}),
    "no such path": ("GET", "/nothing", {}),
    "another method": ("PUT", SEND, JSON),
    "another type": ("POST", SEND, {"content-type": "text/plain"}),
    "a bad query": ("GET", f"{LIST}?colour=blue", {}),
    "a bad body": ("POST", SEND, {**JSON, "x-body": "{"}),
    "health": ("GET", "/healthz", {}),
    "no upgrade": ("GET", "/socket/websocket", {}),
    "a poll": ("GET", "/socket/longpoll?vsn=2.0.0", {}),
    "a callback": ("POST", "/webhooks/twilio/status", FORM),
    "a link, for a program": ("GET", "/unsubscribe/t", {}),
    "a link, for a browser": ("GET", "/unsubscribe/t", BROWSER),
    "a page for nothing": ("GET", "/unsubscribe/a/b", BROWSER),
    "the demo": ("GET", "/demo", BROWSER),
    "its script": ("GET", "/demo/demo.js", {}),
    "the console": ("GET", "/console", BROWSER),
    "another method of a page": ("POST", "/console", {}),
}
PAGES = ("the demo", "the console", "a page for nothing")


async def answer(gateway: Gateway, name: str, **more: str) -> Reply:
    method, path, headers = ANSWERS[name]
    body = headers.get("x-body", "{}" if headers.get("content-type") else "") or None
    return await gateway.send(method, path, data=body, headers={**headers, **more})


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_answer_says_what_may_be_done_with_it(gateway: Gateway, name: str) -> None:
    found = (await answer(gateway, name)).headers
    assert found["x-content-type-options"] == "nosniff"
    assert found["referrer-policy"] == "no-referrer"
    assert found["cache-control"] == "no-store"
    assert found["cross-origin-resource-policy"] == "same-origin"
    policy = found["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", ANSWERS)
async def test_no_answer_says_what_made_it(gateway: Gateway, name: str) -> None:
    found = (await answer(gateway, name)).headers
    assert not {"server", "x-powered-by", "via"} & found.keys()
    assert not [header for header in found if header.startswith(("x-envoy-", "x-crown-"))]


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_by_itself_and_may_use_nothing_of_the_machine(gateway: Gateway, name: str) -> None:
    found = (await answer(gateway, name)).headers
    assert found["cross-origin-opener-policy"] == "same-origin"
    for feature in ("camera", "geolocation", "microphone"):
        assert f"{feature}=()" in found["permissions-policy"]


# Who may poll, the service says: tests/integration/realtime/test_longpoll.py. Here another stands in its place.
@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "a poll"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{APP}.evil.example", "null", "http://app.example"]
)
async def test_no_answer_is_for_another_page(gateway: Gateway, name: str, origin: str) -> None:
    found = (await answer(gateway, name, origin=origin)).headers
    assert not [header for header in found if header.startswith("access-control-")]


@pytest.mark.parametrize("name", ["one of a service", "one to a post", "no token", "a bad body"])
async def test_an_answer_for_a_page_that_may_read_it(gateway: Gateway, name: str) -> None:
    """Errors, too: else the page cannot tell what is wrong."""
    found = (await answer(gateway, name, origin=APP)).headers
    assert found["access-control-allow-origin"] == APP
    # There are no cookies here that could be sent along.
    assert "access-control-allow-credentials" not in found
    # Who keeps answers must not give one page's to another.
    assert "origin" in found["vary"].lower()


@pytest.mark.parametrize("path", [SEND, LIST, "/crown.notification.v1.InboxService/ListNotifications"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
async def test_a_page_that_asks_first(gateway: Gateway, path: str, method: str) -> None:
    asked = {"access-control-request-method": method, "access-control-request-headers": "authorization"}
    good = await gateway.send("OPTIONS", path, token=None, headers={"origin": APP, **asked})
    assert good.status == 200
    assert good.headers["access-control-allow-origin"] == APP
    assert "authorization" in good.headers["access-control-allow-headers"]
    bad = await gateway.send("OPTIONS", path, token=None, headers={"origin": "https://evil.example", **asked})
    assert bad.status in (404, 405)
    assert not [header for header in bad.headers if header.startswith("access-control-")]
    assert gateway.backend.calls == []
