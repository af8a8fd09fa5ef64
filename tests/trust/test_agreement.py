"""One message, sent by REST and by gRPC: the same answer, whatever is in it."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.e2e.remarks import details, violations
from tests.e2e.rest import NOTIFICATIONS, Caller

# Good ones, those at a bound, and bad ones. What is refused must not be decided by where it came in.
ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
IDS = st.sampled_from(["agree", "", "a b", "a" * 128, "a" * 129, ".x", "ann@example.org", "\u0430nn"])
DATA = st.fixed_dictionaries(
    {},
    optional={
        "title": st.one_of(ANY_TEXT, st.sampled_from(["x" * 200, "x" * 201, "a\nb", "\u202e", "\x00"])),
        "message": ANY_TEXT,
        "action_url": st.sampled_from(
            ["/a", "//evil.example", "javascript:x", "https://evil.example/", "a b"]
        ),
    },
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from([0, 5, 6, 77, -1]),
    "channels": st.lists(st.sampled_from([0, 1, 5, 6]), max_size=3),
    "user_id": IDS,
    "user_ids": st.lists(IDS, max_size=3),
    "everyone": st.just(False),
    "kind": st.sampled_from(["", "like", "no_such_kind", "K", "a" * 65]),
    "category": st.sampled_from([0, 1, 5, 99]),
    "priority": st.sampled_from([0, 1, 3, 99]),
    "template_id": st.sampled_from(["", "no-such", "UPPER", "x" * 200]),
    "local_time": st.sampled_from(["", "25:00", "9:00", "noon"]),
    "data": DATA,
}
MESSAGES = st.fixed_dictionaries({}, optional=FIELDS)


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(fields=MESSAGES)
async def test_both_ways_give_the_same_answer(
    feed: Caller, channel: grpc.aio.Channel, fields: dict[str, Any]
) -> None:
    message = SendNotificationRequest(**fields)
    body = MessageToDict(message, preserving_proto_field_name=True, use_integers_for_enums=True)
    reply = await feed.post(NOTIFICATIONS, body)
    by_rest = (0, {}) if reply.status == 200 else (reply.problem.code, reply.problem.violations)
    try:
        await IngestServiceStub(channel).SendNotification(message, metadata=feed.metadata, timeout=10)
        by_grpc: tuple[int, dict[str, str]] = (0, {})
    except grpc.aio.AioRpcError as error:
        by_grpc = (error.code().value[0], violations(error) if BadRequest in details(error) else {})
    assert by_rest == by_grpc
