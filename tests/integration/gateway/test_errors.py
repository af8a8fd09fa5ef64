"""What is wrong is refused with the one shape of error, whether Envoy refuses it or a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from crown import problem
from crown.errors import RateLimited

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.integration.gateway.conftest import Answer, Call, Context, Gateway, Reply

SEND = "/api/v1/notifications"
LIST = "/api/v1/users/u1/notifications"
TYPE = "type.googleapis.com/google.rpc."


def check(reply: Reply, status: int, code: int, reason: str) -> str:
    """The message of an error that is of the right shape."""
    assert reply.status == status, reply
    body = reply.json
    assert body.keys() == {"code", "message", "details"}
    assert body["code"] == code
    details = {detail["@type"].removeprefix(TYPE): detail for detail in body["details"]}
    assert details["ErrorInfo"]["reason"] == reason
    assert details["ErrorInfo"]["domain"] == "crown.notification.v1"
    if "x-request-id" in reply.headers:
        assert details["RequestInfo"]["request_id"] == reply.headers["x-request-id"]
    assert body["message"]
    return str(body["message"])


BROKEN = {
    "cut off": b"{", "array": b"[]", "null": b"null", "string": b'"x"', "number": b"1", "garbage after it": b"{}x",
    "two documents": b"{}{}", "byte order mark": b"\xef\xbb\xbf{}", "UTF-16": "{}".encode("utf-16"),
    "bad UTF-8": b'{"user_id":"\xff"}', "lone surrogate": b'{"user_id":"\\ud800"}', "NaN": b'{"type":NaN}',
    "wrong type": b'{"user_id":1}', "unknown enum": b'{"type":"pigeon"}', "overflow": b'{"type":99999999999}',
    "not a time": b'{"expires_at":"soon"}', "too deep": b'{"data":{"extra":' + b'{"a":' * 120 + b"1" + b"}" * 122,
}  # fmt: skip


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_refuses_what_is_not_the_message(gateway: Gateway, body: bytes) -> None:
    reply = await gateway.send("POST", SEND, data=body, headers={"content-type": "application/json"})
    check(reply, 400, 3, "UNDECODABLE")
    assert gateway.backend.calls == []


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("?x=1", '"x"'),
        ("?page=abc", "page"),
        ("?limit=1e9", "limit"),
        ("?page=1&page=2", "page"),
        ("?userId.x=1", ""),
    ],
)
async def test_refuses_a_query_that_is_not_understood(gateway: Gateway, path: str, named: str) -> None:
    assert named in check(await gateway.send("GET", LIST + path), 400, 3, "UNDECODABLE")


async def test_refuses_a_body_that_contradicts_the_path(gateway: Gateway) -> None:
    reply = await gateway.send("POST", "/api/v1/users/u1/devices", json={"user_id": "u2", "token": "t"})
    assert "user_id" in check(reply, 400, 3, "UNDECODABLE")


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/nothing", SEND + "/", LIST + ";x", "/healthz/", "/api/v1/" + "a" * 7000]
)
async def test_knows_what_is_not_there(gateway: Gateway, path: str) -> None:
    check(await gateway.send("GET", path, token=None), 404, 5, "NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["/api/v1/users/a%2Fb/notifications", "/api/v1/users/..%2fx", "/api/v1/users/u%00/contact"]
)
async def test_refuses_a_path_with_hidden_slashes(gateway: Gateway, path: str) -> None:
    check(await gateway.send("GET", path), 400, 3, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", SEND, "POST"), ("DELETE", SEND, "POST"), ("HEAD", SEND, "POST"), ("POST", LIST, "GET"),
     ("PUT", SEND + "/bulk", "POST"), ("PATCH", "/api/v1/users/u1/contact", "GET, PUT"), ("POST", "/healthz", "GET"),
     ("DELETE", "/readyz", "GET"), ("OPTIONS", SEND, "POST")],
)  # fmt: skip
async def test_says_which_methods_a_path_takes(gateway: Gateway, method: str, path: str, allow: str) -> None:
    headers = {"content-type": "application/json"}
    reply = await gateway.send(method, path, token=None, headers=headers)
    assert reply.headers["allow"] == allow
    if method != "HEAD":
        assert allow in check(reply, 405, 12, "UNSUPPORTED")


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-type": "application/json; charset=utf-7"}, {"content-type": ""},
     {"content-type": "multipart/form-data; boundary=x"}, {"content-type": "application/jsonp"},
     {"content-type": "application/json", "content-encoding": "gzip"}],
    ids=str,
)  # fmt: skip
async def test_takes_nothing_but_json(gateway: Gateway, headers: dict[str, str]) -> None:
    check(await gateway.send("POST", SEND, data=b"{}", headers=headers), 415, 3, "INVALID_REQUEST")
    assert gateway.backend.calls == []


@pytest.mark.parametrize(
    "framing", [b"content-length: 2\r\n\r\n{}", b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
async def test_takes_no_body_that_does_not_say_what_it_is(gateway: Gateway, framing: bytes) -> None:
    head = f"POST {SEND} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {gateway.token()}\r\n"
    check(await gateway.raw(head.encode() + framing), 415, 3, "INVALID_REQUEST")


async def test_json_may_say_that_it_is_utf_8(gateway: Gateway) -> None:
    headers = {"content-type": 'application/json; charset="UTF-8"', "content-encoding": "identity"}
    assert (await gateway.send("POST", SEND, data=b"{}", headers=headers)).status == 200


NOT_HTTP = {
    "garbage": b"GARBAGE\r\n\r\n", "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "underscore": b"GET /healthz HTTP/1.1\r\nhost: a\r\nx_y: 1\r\n\r\n",
    "control character": b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: \x01\r\n\r\n",
    "length and chunks": b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    "negative length": b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("request_bytes", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_refuses_what_is_not_http(gateway: Gateway, request_bytes: bytes) -> None:
    check(await gateway.raw(request_bytes), 400, 3, "INVALID_REQUEST")


def refusing(code: grpc.StatusCode, *details: Message, **metadata: str) -> Answer:
    """An answer as the services refuse."""

    async def refuse(call: Call, context: Context) -> None:
        status = status_pb2.Status(code=code.value[0], message="no")
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        rich = ("grpc-status-details-bin", status.SerializeToString())
        pairs = ((name.replace("_", "-"), value) for name, value in metadata.items())
        await context.abort(code, "no", trailing_metadata=(rich, *pairs))

    return refuse


async def test_shows_every_violation_that_a_service_found(gateway: Gateway) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="user_id", description="is required", reason="REQUIRED")
    gateway.backend.answers["SendNotification"] = refusing(grpc.StatusCode.INVALID_ARGUMENT, bad)
    reply = await gateway.send("POST", SEND, json={})
    assert (reply.status, reply.json["code"], reply.json["message"]) == (400, 3, "no")
    violation = {"field": "user_id", "description": "is required", "reason": "REQUIRED"}
    assert reply.json["details"] == [{"@type": TYPE + "BadRequest", "field_violations": [violation]}]


@pytest.mark.parametrize(
    ("code", "status"),
    [("UNAUTHENTICATED", 401), ("PERMISSION_DENIED", 403), ("NOT_FOUND", 404), ("ALREADY_EXISTS", 409),
     ("ABORTED", 409), ("FAILED_PRECONDITION", 400), ("RESOURCE_EXHAUSTED", 429), ("INTERNAL", 500),
     ("UNAVAILABLE", 503), ("DEADLINE_EXCEEDED", 504)],
)  # fmt: skip
async def test_turns_a_code_into_its_status(gateway: Gateway, code: str, status: int) -> None:
    meant = grpc.StatusCode[code]
    info = error_details_pb2.ErrorInfo(reason="NO", domain="crown.notification.v1", metadata={"a": "b"})
    gateway.backend.answers["ListNotifications"] = refusing(meant, info)
    reply = await gateway.send("GET", LIST)
    assert (reply.status, reply.json["code"]) == (status, meant.value[0])
    detail: dict[str, Any] = {"reason": "NO", "domain": "crown.notification.v1", "metadata": {"a": "b"}}
    assert reply.json["details"] == [{"@type": TYPE + "ErrorInfo", **detail}]


async def test_what_is_left_of_a_rate_is_told_with_every_answer(gateway: Gateway) -> None:
    told = {"ratelimit-policy": '"default";q=3;w=3', "ratelimit": '"default";r=0;t=3'}

    async def good(call: Call, context: Context) -> None:
        await context.send_initial_metadata(tuple(told.items()))

    async def limited(call: Call, context: Context) -> None:
        error = RateLimited("slower", retry_after_s=2.0, headers=tuple(told.items()))
        await context.abort(error.code, error.message, problem.trailers(error, "r"))

    for answer, status in ((good, 200), (limited, 429)):
        gateway.backend.answers["SendNotification"] = answer
        reply = await gateway.send("POST", SEND, json={}, headers={"origin": "https://app.example"})
        assert reply.status == status
        assert told.items() <= reply.headers.items()
        assert "ratelimit, ratelimit-policy" in reply.headers["access-control-expose-headers"]
    assert reply.headers["retry-after"] == "2"
    assert reply.json["details"][0]["reason"] == "RATE_LIMITED"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_when_to_retry_is_a_detail_and_a_header(gateway: Gateway, code: grpc.StatusCode) -> None:
    soon = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=3))
    gateway.backend.answers["SendNotification"] = refusing(code, soon, retry_after="3")
    reply = await gateway.send("POST", SEND, json={})
    assert reply.headers["retry-after"] == "3"
    assert reply.json["details"] == [{"@type": TYPE + "RetryInfo", "retry_delay": "3s"}]


@pytest.mark.parametrize("name", ["a!b", "d1l~", "z2p'|#y", "!", "x*-y"])
async def test_a_header_that_grpc_has_no_name_for_stays_outside(gateway: Gateway, name: str) -> None:
    """A service would answer the call with an internal error before it looks at it."""
    reply = await gateway.send("POST", SEND, json={}, headers={name: "1", "x-good-1.2": "2"})
    assert reply.status == 200
    [call] = gateway.backend.calls
    assert call.metadata["x-good-1.2"] == "2"
    assert name not in call.metadata


ODD = {
    "no base64": {"x-odd-bin": "!!!"},
    "cut base64": {"x-odd-bin": "AAA"},
    "no time": {"grpc-timeout": "abc"},
    "a little time": {"grpc-timeout": "5S"},
    "long time": {"grpc-timeout": "99999999999H"},
    "encoding": {"grpc-encoding": "zz"},
    "gzip": {"grpc-encoding": "gzip"},
    "accepted encodings": {"grpc-accept-encoding": "zz,,"},
    "inner encoding": {"grpc-internal-encoding-request": "gzip"},
    "trailers": {"te": "gzip"},
    "status": {"grpc-status": "99"},
    "trace": {"grpc-trace-bin": "AA!"},
    "attempts": {"grpc-previous-rpc-attempts": "x"},
    "cost": {"lb-cost-bin": "x"},
    "letters": {"idempotency-key": "caf\u00e9"},
    "no agent": {"user-agent": ""},
}


@pytest.mark.parametrize("headers", ODD.values(), ids=ODD)
async def test_a_header_that_means_something_to_grpc_is_no_fault(
    gateway: Gateway, headers: dict[str, str]
) -> None:
    reply = await gateway.send("POST", SEND, json={}, headers=headers)
    assert reply.status < 500, reply
    if reply.status != 200:
        check(reply, reply.status, reply.json["code"], reply.json["details"][0]["reason"])
