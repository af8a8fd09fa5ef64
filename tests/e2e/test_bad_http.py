"""Requests that are wrong before anybody looks at their body."""

from __future__ import annotations

import re

import pytest

from tests.e2e.contract import RPCS
from tests.e2e.people import People, Person
from tests.e2e.rest import BULK, JSON, NOTIFICATIONS, Caller, Rest

BODY = b'{"type": "in_app", "user_id": "heron", "data": {"title": "Heron"}}'
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
PATHS = {path for rpc in RPCS for _, path in rpc.paths("heron")}


def taken(path: str) -> set[str]:
    """The methods that the path takes; one without variables may fit a template of another RPC, too."""
    templates = [(verb, re.sub(r"\{\w+\}", "[^/]+", template)) for rpc in RPCS for verb, template in rpc.rest]
    return {verb for verb, template in templates if re.fullmatch(template, path)}


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_wrong_methods(feed: Caller, path: str) -> None:
    for method in set(METHODS) - taken(path):
        answer = await feed.request(method, path, headers=JSON)
        assert answer.status == 405, (method, answer)
        assert set(answer.headers["allow"].split(", ")) <= taken(path)


WRONG_PATHS = {
    "none": "/", "another": "/api/v1/notification", "slash at the end": f"{NOTIFICATIONS}/",
    "slash after bulk": f"{BULK}/", "parameter": f"{NOTIFICATIONS};x=1", "case": "/API/v1/notifications",
    "version": "/api/v2/notifications", "above": "/api/v1", "outside": "/../../etc/passwd",
    "dots": "/.%2e/.%2e/etc/passwd", "escaped dots": "/api/v1/%2e%2e/%2e%2e/metrics", "long": "/" + "a" * 7_000,
    "rpc": "/crown.notification.v1.IngestService/SendNotification",
    "health": "/grpc.health.v1.Health/Check", "metrics": "/metrics", "admin": "/stats/prometheus",
    "config": "/config_dump",
}  # fmt: skip


@pytest.mark.parametrize("path", WRONG_PATHS.values(), ids=WRONG_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_wrong_paths(feed: Caller, method: str, path: str) -> None:
    answer = await feed.request(method, path, BODY if method == "POST" else None)
    assert (answer.status, answer.problem.code) == (404, 5)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
async def test_slashes_are_merged_before_anything_is_looked_up(feed: Caller, method: str) -> None:
    """So this names the user "notifications", and all that can be done about a user as such is to erase them."""
    answer = await feed.request(method, "/api/v1/users//notifications", BODY if method != "GET" else None)
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE")


REFUSED_PATHS = {
    "escaped slash": "/api/v1%2Fnotifications", "escaped backslash": "/api/v1%5Cnotifications",
    "escaped nul": f"{NOTIFICATIONS}%00", "slash in an id": "/api/v1/users/a%2F..%2Fb/notifications",
}  # fmt: skip


@pytest.mark.parametrize("path", REFUSED_PATHS.values(), ids=REFUSED_PATHS)
async def test_refused_paths(feed: Caller, path: str) -> None:
    answer = await feed.try_send(BODY) if not path else await feed.post(path, BODY)
    assert (answer.status, answer.problem.code) == (400, 3)


@pytest.mark.parametrize(
    "path", [f"/{NOTIFICATIONS}", "/api//v1/notifications", "/api/v1/x/../notifications"]
)
async def test_paths_that_mean_the_same(feed: Caller, rest: Rest, path: str) -> None:
    assert (await feed.post(path, BODY)).status == 200
    # Nothing is opened by writing it otherwise.
    assert (await rest.nobody.post(path, BODY)).status == 401


async def test_a_very_long_path(feed: Caller) -> None:
    answer = await feed.get("/" + "a" * 20_000)
    assert (answer.status, answer.problem.code) == (431, 8)


# -- query

BAD_QUERIES = {
    "page": ["0", "-1", "1000000000", "99999999999", "abc", "", "1.5", "1e1", "0x1", "%00", "null", "1;limit=2"],
    "limit": ["0", "-1", "101", "abc", "", "true"],
    "cursor": ["x", "%ff", "AAAA", "x" * 513, "MTc5NTM0NDQ4NTc3OQ==", "Og=="],
}  # fmt: skip


@pytest.mark.parametrize(
    "query",
    [f"{name}={value}" for name, values in BAD_QUERIES.items() for value in values],
    ids=lambda q: q[:24],
)
async def test_bad_queries(people: People, query: str) -> None:
    person = people.stranger()
    answer = await person.caller.get(f"/api/v1/users/{person.user_id}/notifications?{query}")
    assert (answer.status, answer.problem.code) == (400, 3)
    assert query.partition("=")[0] in answer.problem.message or query == "cursor=%ff"


@pytest.mark.parametrize(
    "query", ["colour=blue", "page=1&page=2", "limit[]=1", "Page=1", "page=501&limit=20"]
)
async def test_queries_that_are_none(people: People, query: str) -> None:
    person = people.stranger()
    answer = await person.caller.get(f"/api/v1/users/{person.user_id}/notifications?{query}")
    assert (answer.status, answer.problem.code) == (400, 3)


@pytest.mark.parametrize("query", ["", "&&", "page=1&", "page=%31", "page=500&limit=20"])
async def test_queries_that_do(people: People, query: str) -> None:
    person = people.stranger()
    assert (await person.caller.history(person.user_id, f"?{query}"))["notifications"] == []


async def test_a_cursor_and_a_page(person: Person, feed: Caller) -> None:
    for _ in range(2):
        await feed.settled(await feed.send("in_app", user_id=person.user_id, data={"title": "Heron"}))
    cursor = (await person.caller.history(person.user_id, "?limit=1"))["next_cursor"]
    answer = await person.caller.get(f"/api/v1/users/{person.user_id}/notifications?cursor={cursor}&page=1")
    assert answer.problem.violations.keys() == {"cursor"}


@pytest.mark.parametrize("query", ["user_id=mallory", "data.title=Egret", "colour=blue"])
async def test_a_send_takes_no_query(feed: Caller, query: str) -> None:
    answer = await feed.post(f"{NOTIFICATIONS}?{query}", BODY)
    assert (answer.status, answer.problem.code) == (400, 3)


# -- headers

TYPES = {
    "text": "text/plain", "form": "application/x-www-form-urlencoded", "parts": "multipart/form-data; boundary=x",
    "utf-7": "application/json; charset=utf-7", "utf-16": "application/json; charset=utf-16", "xml": "text/xml",
    "like it": "application/jsonx", "patch": "application/json-patch+json", "two": "application/json, text/plain",
    "protobuf": "application/x-protobuf", "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("content_type", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("path", [NOTIFICATIONS, BULK], ids=["single", "bulk"])
async def test_wrong_content_types(feed: Caller, path: str, content_type: str) -> None:
    answer = await feed.post(path, BODY, headers={"Content-Type": content_type})
    assert (answer.status, answer.problem.code) == (415, 3)


async def test_no_content_type(rest: Rest, feed: Caller) -> None:
    head = f"POST {NOTIFICATIONS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {feed.token}\r\n"
    answer = await rest.raw(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
    assert (answer.status, answer.problem.code) == (415, 3)


@pytest.mark.parametrize(
    "value", ["application/json; charset=utf-8", "APPLICATION/JSON", 'application/json;charset="UTF-8"']
)
async def test_right_content_types(feed: Caller, value: str) -> None:
    assert (await feed.try_send(BODY, headers={"Content-Type": value})).status == 200


HEADERS = {
    "large": (431, 8, {"X-Large": "a" * 100_000}),
    "many": (431, 8, {f"X-{number}": "1" for number in range(1_000)}),
    "underscore": (400, 3, {"x_user": "mallory"}),
    "two hosts": (400, 3, {"Host": "a,b"}),
}


@pytest.mark.parametrize(("status", "code", "headers"), HEADERS.values(), ids=HEADERS)
async def test_wrong_headers(feed: Caller, status: int, code: int, headers: dict[str, str]) -> None:
    answer = await feed.try_send(BODY, headers=headers)
    assert (answer.status, answer.problem.code) == (status, code)


RAW = {
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "unknown method": b"BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in a name": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
    "nul in a value": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "two lengths": b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST /api/v1/notifications HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no length": b"POST /api/v1/notifications HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    "bad chunk": b"POST /api/v1/notifications HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("request_bytes", RAW.values(), ids=RAW)
async def test_what_is_hardly_http(rest: Rest, request_bytes: bytes) -> None:
    assert (await rest.raw(request_bytes)).status in (400, 415, 426)
