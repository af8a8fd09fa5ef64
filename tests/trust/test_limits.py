"""Each limit of docs/limits.md, from where that page has it: one below and at it is taken, one above is refused, as
it is said there. A row that is not tried here names its own test."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from crown.notification.v1.ingest_service_pb2 import (
    SendBulkNotificationsRequest,
    StreamNotificationsRequest,
)
from tests.e2e.people import People
from tests.e2e.rest import BULK, NOTIFICATIONS, Caller, Rest
from tests.e2e.test_bad_grpc import good
from tests.trust.edges import INGEST, Edges, Try
from tools.limits_page import TRIED, Limit, sections

ROWS = [row for rows in sections().values() for row in rows if row.test == TRIED]
_LARGE = "413 PAYLOAD_TOO_LARGE"
_TOO_MUCH = "RESOURCE_EXHAUSTED PAYLOAD_TOO_LARGE"


def wrong(field: str) -> str:
    """REST and gRPC both name the field."""
    return f"400 INVALID_REQUEST {field}; INVALID_ARGUMENT INVALID_REQUEST {field}"


def people(count: int) -> list[str]:
    return [f"u{number}" for number in range(count)]


def bulk() -> SendBulkNotificationsRequest:
    return SendBulkNotificationsRequest(notifications=[good()])


def stream() -> StreamNotificationsRequest:
    made = StreamNotificationsRequest()
    made.items.add().notification.CopyFrom(good())
    return made


# What is tried, and what then refuses.
CASES: dict[str, tuple[Try, str]] = {
    "body of `/socket/longpoll`": (Edges.poll_of, "413"),
    "body of `/api/v1/notifications/bulk`": (
        lambda edges, n: edges.json(BULK, {"notifications": [edges.one()]}, n),
        _LARGE,
    ),
    "body of `/webhooks/…`": (Edges.event, _LARGE),
    "body of `/unsubscribe/…`": (Edges.link, _LARGE),
    "body of any other path": (lambda edges, n: edges.json(NOTIFICATIONS, edges.one(), n), _LARGE),
    "a gRPC message": (lambda edges, n: edges.message(f"{INGEST}/SendNotification", good(), n), _TOO_MUCH),
    "a message of SendBulkNotifications": (
        lambda edges, n: edges.message(f"{INGEST}/SendBulkNotifications", bulk(), n),
        _TOO_MUCH,
    ),
    "a message of StreamNotifications": (lambda edges, n: edges.streamed_of(stream(), n), _TOO_MUCH),
    "headers, with the path": (Edges.head, "431 PAYLOAD_TOO_LARGE"),
    "headers of a request": (Edges.headers, "431 PAYLOAD_TOO_LARGE"),
    "`title`": (lambda edges, n: edges.saying(title="ä" * n), wrong("data.title")),
    "`message`": (lambda edges, n: edges.saying(message="x" * n), wrong("data.message")),
    "`action_url`": (lambda edges, n: edges.saying(action_url="/".ljust(n, "a")), wrong("data.action_url")),
    "`image_url`": (
        lambda edges, n: edges.saying(image_url="https://crown.example/".ljust(n, "a")),
        wrong("data.image_url"),
    ),
    "`data`": (Edges.data_of, wrong("data")),
    "levels of free-form parts": (Edges.nested, wrong("data.extra")),
    "`user_ids`": (lambda edges, n: edges.sent(edges.one(user_ids=people(n))), wrong("user_ids")),
    "`group_ids`": (lambda edges, n: edges.sent(edges.one(group_ids=people(n))), wrong("group_ids")),
    "notifications of a bulk": (
        lambda edges, n: edges.sent_together([edges.one()] * n),
        wrong("notifications"),
    ),
    "people of a bulk": (
        lambda edges, n: edges.sent_together(
            [edges.one(user_ids=people(5_000)), edges.one(user_ids=people(n - 5_000))]
        ),
        wrong("notifications"),
    ),
    "items of one message of a stream": (Edges.streamed_items, "INVALID_ARGUMENT INVALID_REQUEST items"),
    "a message, in one frame or fragments": (Edges.whole, "1009; 1009"),
    "fragments of a message": (Edges.fragments, "1009"),
    "topics of a connection": (Edges.topics, "too many channels joined"),
    "a ref, as it is written": (
        lambda edges, n: edges.heard(None, "r" * (n - 2), "phoenix", "heartbeat", {}),
        "1011",
    ),
    "a topic": (lambda edges, n: edges.heard("1", "1", "t" * n, "wave", {}), "1011"),
    "an event": (lambda edges, n: edges.heard("1", "1", "topic", "e" * n, {}), "1011"),
    "what is told the others on a topic": (Edges.published, wrong("payload")),
    "connections of a person": (Edges.connections, "3504"),
    "body of a poll": (Edges.poll_past_the_gateway, "413"),
    "frames of a poll": (Edges.frames, "413 in the body"),
}


@pytest.fixture(scope="module")
def edges(rest: Rest, feed: Caller, people: People, channel: grpc.aio.Channel) -> Edges:
    """One who tries."""
    later = datetime.now(UTC) + timedelta(days=30)
    return Edges(rest, feed, people, channel, later.isoformat().replace("+00:00", "Z"))


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
async def test_what_is_at_the_limit_is_taken_and_one_more_is_not(edges: Edges, row: Limit) -> None:
    attempt, refusal = CASES[row.what]
    found = await asyncio.gather(*(attempt(edges, row.size + more) for more in (-1, 0, 1)))
    assert found == ["", "", refusal]


def test_no_case_is_of_a_limit_that_there_is_not() -> None:
    assert {row.what for row in ROWS} == CASES.keys()
