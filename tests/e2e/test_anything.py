"""Whatever JSON comes: an answer in the one shape, and never a fault of ours."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.answers import Reply, inspect
from tests.e2e.rest import BULK, JSON, NOTIFICATIONS, Rest

NAMES = ["type", "channels", "user_id", "user_ids", "data", "kind", "category", "priority", "expires_at",
    "idempotency_key", "address", "userId", "notifications", "title", "message", "action_url", "extra"]  # fmt: skip
WORDS = st.sampled_from(
    ["push", "in_app", "heron", "like", "SECURITY", "/x", "2126-01-01T00:00:00Z", "", "\0"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=20,
)
# Like a request, with something else in some of its places.
ALIKE = st.fixed_dictionaries(
    {
        "type": st.just("in_app") | ANYTHING,
        "user_id": st.just("heron") | ANYTHING,
        "data": st.just({"title": "x"}) | ANYTHING,
    },
    optional=dict.fromkeys(NAMES[5:11], ANYTHING),
)
BODIES = st.one_of(ANYTHING, ALIKE, st.fixed_dictionaries({"notifications": st.lists(ALIKE, max_size=3)}))


@pytest.fixture
def connection(rest: Rest) -> Iterator[http.client.HTTPConnection]:
    opened = http.client.HTTPConnection(rest.address, timeout=10)
    yield opened
    opened.close()


def post(connection: http.client.HTTPConnection, token: str, path: str, body: bytes) -> Reply:
    connection.request("POST", path, body, {**JSON, "Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    return inspect(Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, path=st.sampled_from([NOTIFICATIONS, BULK]))
def test_any_json(connection: http.client.HTTPConnection, rest: Rest, body: Any, path: str) -> None:
    token = rest.service().token
    assert token
    assert post(connection, token, path, json.dumps(body).encode()).status in (200, 400, 413)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_any_bytes(connection: http.client.HTTPConnection, rest: Rest, body: bytes) -> None:
    token = rest.service().token
    assert token
    assert post(connection, token, NOTIFICATIONS, body).status == 400
