"""FCM, against the sandbox: every row of the table in services/push/fcm/provider.py."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Collection
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from pymongo.errors import AutoReconnect

from crown import ids
from crown.http import Http
from crown.notification.v1.types_pb2 import DeviceKind
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.recipients import Destination
from crown.rendering import Links
from services.push.fcm.access_token import AccessToken
from services.push.fcm.provider import Fcm
from services.push.push import Push

Make = Callable[..., Attempt]
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


class Register:
    """Keeps which devices were forgotten."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self.away = False

    async def forget(self, device_ids: Collection[str]) -> None:
        if self.away:
            raise AutoReconnect("away")
        self.forgotten += device_ids


@pytest.fixture
def register() -> Register:
    return Register()


async def none(_user_id: str) -> int:
    return 0


def provider(sandbox: Any, links: Links, register: Register, url: str = "") -> Push:
    http, token = Http(timeout_s=0.5), AccessToken(sandbox.account)
    fcm = Fcm(http, url or sandbox.url, sandbox.account["project_id"], token, clock=lambda: NOW)
    return Push("fcm", fcm, None, links, none, register.forget, clock=lambda: NOW)


@pytest.fixture
async def fcm(sandbox: Any, links: Links, register: Register) -> AsyncIterator[Push]:
    client = provider(sandbox, links, register)
    yield client
    await client.close()


async def test_a_message_arrives(fcm: Push, sandbox: Any, attempt: Make) -> None:
    found = await fcm.send(attempt("token-1"))
    (effect,) = await sandbox.effects()
    assert isinstance(found, Delivered)
    assert found.message_id.endswith(effect["message_id"])
    assert (effect["recipient"], effect["title"]) == ("token-1", "New message")
    assert (effect["notification_id"], effect["delivery_id"]) == ("n-1", "d" * 32)


async def test_all_devices_get_it(fcm: Push, sandbox: Any, attempt: Make) -> None:
    places = [Destination("a", "token-a"), Destination("b", "fid-b", DeviceKind.FID)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the SDK warns of tokens
        assert isinstance(await fcm.send(attempt(*places)), Delivered)
    assert {effect["recipient"] for effect in await sandbox.effects()} == {"token-a", "fid-b"}


@pytest.mark.parametrize(
    ("token", "code"), [("unregistered-1", "UNREGISTERED"), ("mismatch-1", "SENDER_ID_MISMATCH")]
)
async def test_a_device_that_is_gone_is_forgotten(
    fcm: Push, register: Register, attempt: Make, token: str, code: str
) -> None:
    assert await fcm.send(attempt(token)) == Discard("UNREGISTERED", code)
    assert register.forgotten == [ids.device(token)]


async def test_the_others_get_it(fcm: Push, register: Register, sandbox: Any, attempt: Make) -> None:
    assert isinstance(await fcm.send(attempt("unregistered-1", "token-2")), Delivered)
    assert register.forgotten == [ids.device("unregistered-1")]
    assert [effect["recipient"] for effect in await sandbox.effects()] == ["token-2"]


async def test_forgetting_can_wait(fcm: Push, register: Register, attempt: Make) -> None:
    register.away = True
    assert isinstance(await fcm.send(attempt("unregistered-1", "token-2")), Delivered)


async def test_only_what_is_left_is_to_do(fcm: Push, sandbox: Any, attempt: Make) -> None:
    await sandbox.script(provider="fcm", match={"recipient": "token-b"}, answer={"status": 503}, times=1)
    assert await fcm.send(attempt("token-a", "token-b")) == Retry("UNAVAILABLE", None, ("at0",))
    await sandbox.script(provider="fcm", match={"recipient": "token-b"}, answer={"hang": True}, times=1)
    assert await fcm.send(attempt("token-a", "token-b")) == Unknown("TIMEOUT", ("at0",))


def body(status: str, code: str = "", message: str = "") -> dict[str, Any]:
    details = [{"@type": FCM_ERROR, "errorCode": code}] if code else []
    return {"error": {"code": 0, "message": message, "status": status, "details": details}}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({"status": 200, "body": "<p>hello"}, Unknown("200"), id="200 with garbage"),
        pytest.param({"status": 200, "body": {}}, Unknown("200"), id="200 without a name"),
        pytest.param(
            {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}, "body": ""},
            Retry("302"),
            id="redirect",
        ),
        pytest.param({"status": 400}, Discard("PROVIDER_REFUSED", "INVALID_ARGUMENT"), id="400"),
        pytest.param({"status": 401}, Retry("THIRD_PARTY_AUTH_ERROR", alone=True), id="401 of APNs"),
        pytest.param({"status": 401, "body": body("UNAUTHENTICATED")}, Retry("UNAUTHENTICATED"), id="401"),
        pytest.param(
            {"status": 403, "body": body("PERMISSION_DENIED")}, Retry("PERMISSION_DENIED"), id="403"
        ),
        pytest.param(
            {"status": 404, "body": body("NOT_FOUND")}, Retry("NOT_FOUND"), id="404 that is not FCM's"
        ),
        pytest.param({"status": 404, "body": "<p>no such page"}, Retry("404"), id="404 of a proxy"),
        pytest.param({"status": 413, "body": "x"}, Discard("PROVIDER_REFUSED", "413"), id="another 4xx"),
        pytest.param({"status": 429}, Snooze("QUOTA_EXCEEDED", 60.0), id="429"),
        pytest.param(
            {
                "status": 429,
                "body": body("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "Device message rate exceeded"),
            },
            Snooze("QUOTA_EXCEEDED", 60.0, alone=True),
            id="429 of a device",
        ),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "3"}},
            Snooze("QUOTA_EXCEEDED", 3.0),
            id="429 Retry-After",
        ),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "abc"}},
            Snooze("QUOTA_EXCEEDED", 60.0),
            id="429 garbage",
        ),
        pytest.param({"status": 500}, Retry("INTERNAL"), id="500"),
        pytest.param({"status": 503}, Retry("UNAVAILABLE"), id="503"),
        pytest.param(
            {"status": 503, "headers": {"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT"}},
            Retry("UNAVAILABLE", 30.0),
            id="503 with a date",
        ),
        pytest.param({"status": 502, "body": "<p>bad gateway"}, Unknown("502"), id="502"),
        pytest.param({"hang": True}, Unknown("TIMEOUT"), id="no answer"),
        pytest.param({"reset": "after"}, Unknown("CONNECTION_LOST"), id="reset after the body"),
    ],
)
async def test_what_fcm_does(
    fcm: Push, sandbox: Any, register: Register, attempt: Make, answer: dict[str, Any], expected: Outcome
) -> None:
    await sandbox.script(provider="fcm", answer=answer, times=1)
    assert await fcm.send(attempt("token-1")) == expected
    assert register.forgotten == []
    # Nothing is retried out of sight.
    assert len(await sandbox.calls()) == 1
    assert isinstance(await fcm.send(attempt("token-1")), Delivered)


async def test_a_token_that_fcm_refuses_is_replaced(fcm: Push, sandbox: Any, attempt: Make) -> None:
    await fcm.send(attempt("token-1"))
    assert isinstance(fcm._fcm, Fcm)
    fcm._fcm._token._token = "ya29.forged"
    assert await fcm.send(attempt("token-1")) == Retry("UNAUTHENTICATED")
    assert isinstance(await fcm.send(attempt("token-1")), Delivered)


async def test_no_access_token(fcm: Push, sandbox: Any, attempt: Make) -> None:
    await sandbox.script(provider="oauth", answer={"status": 401}, times=1)
    assert await fcm.send(attempt("token-1")) == Retry("ACCESS_TOKEN_UNAVAILABLE")
    assert await sandbox.effects() == []


async def test_nobody_listens(
    sandbox: Any, links: Links, register: Register, attempt: Make, unused_tcp_port: int
) -> None:
    client = provider(sandbox, links, register, f"http://127.0.0.1:{unused_tcp_port}")
    assert await client.send(attempt("token-1")) == Retry("CONNECT_FAILED")
    await client.close()


async def test_too_large(fcm: Push, sandbox: Any, attempt: Make) -> None:
    extra = Struct()
    extra.update({"x": "x" * 4_000})
    found = await fcm.send(attempt("token-1", extra=extra))
    assert isinstance(found, Discard)
    assert found.reason == "PAYLOAD_TOO_LARGE"
    assert await sandbox.effects() == []


async def test_as_much_as_fits_is_taken(fcm: Push, sandbox: Any, attempt: Make) -> None:
    assert isinstance(await fcm.send(attempt("token-1", message="ü" * 8_000)), Delivered)
    (effect,) = await sandbox.effects()
    assert effect["text"].endswith("ü…")


async def test_nobody_can_tell_what_fcm_took(fcm: Push, attempt: Make) -> None:
    assert await fcm.find(attempt("token-1"), NOW) is None
