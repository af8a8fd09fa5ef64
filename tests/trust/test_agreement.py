"""One message, sent by REST and by gRPC: the same answer, whatever is in it. For every call that has both ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import grpc
import pytest
from google.api.annotations_pb2 import http
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crown import access
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from tests.e2e.contract import RPCS, VARIABLE, Rpc
from tests.e2e.remarks import details, violations
from tests.e2e.rest import Caller, Rest
from tests.e2e.test_bad_json import is_raw
from tests.trust.spoiling import Spoiler

# Code, reason, and what is wrong with which field; of a good answer nothing.
Answer = tuple[int, str, dict[str, str]]

SEED = 20_261_127
# Of each call so many of the inputs that a surface gets.
SHARE = 4
# More of it than fits into the head of a request is no message of any kind.
QUERY_MOST_BYTES = 8_000
# What a path can say: neither nothing, nor a slash, nor a control character.
IN_PATHS = (
    "heron",
    "a b",
    "x" * 128,
    "x" * 129,
    "' OR 1=1--",
    "ann@example.org",
    "%s%n",
    "\u0430nn",
    "{{7*7}}",
)
# Those that answer with a page say by REST what is on it.
BOTH = [
    rpc
    for rpc in RPCS
    if rpc.rest
    and not is_raw(rpc)
    and not rpc.method.server_streaming
    and rpc.method.output_type.full_name != "google.api.HttpBody"
]


def somebody(rest: Rest, rpc: Rpc) -> Caller:
    """Who may make the call."""
    if access.is_open(rpc.rule):
        return rest.nobody
    if rpc.rule.scope:
        return rest.service()
    return rest.operator if rpc.rule.operator else rest.user("heron")


@dataclass(frozen=True)
class Way:
    """One way to make a call by REST."""

    verb: str
    template: str
    # The field that the body is; * for all that is not in the path, empty where the query is.
    body: str

    @property
    def named(self) -> list[str]:
        """The fields that stand in the path."""
        return VARIABLE.findall(self.template)

    def path(self, fields: dict[str, Any]) -> str:
        """With what `fields` say in it."""
        return VARIABLE.sub(lambda found: quote(fields[found[1]], safe=""), self.template)

    def query(self, fields: dict[str, Any]) -> str:
        """What stands neither in the path nor in the body."""
        kept = {name: value for name, value in fields.items() if name not in (*self.named, self.body)}
        return "" if self.body == "*" else urlencode(list(parameters(kept)))

    def said(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """The body."""
        match self.body:
            case "":
                return None
            case "*":
                return {name: value for name, value in fields.items() if name not in self.named}
            case name:
                found: dict[str, Any] = fields[name]
                return found


def ways(rpc: Rpc) -> list[Way]:
    """Each way to make it by REST."""
    rule = rpc.method.GetOptions().Extensions[http]
    return [
        Way(verb.upper(), getattr(one, verb), one.body)
        for one in (rule, *rule.additional_bindings)
        for verb in [one.WhichOneof("pattern")]
    ]


def said(message: Message) -> dict[str, Any]:
    """What JSON says for it. Raises ValueError and SerializeToJsonError for a time that no calendar has, or a number
    that JSON has not."""
    return MessageToDict(message, preserving_proto_field_name=True, use_integers_for_enums=True)


def spoilt(spoiler: Spoiler, rpc: Rpc, way: Way) -> Message:
    """A message that REST can say as well."""
    # A query can name no value that its enum has not.
    spoiler.newer = way.body == "*"
    while True:
        made = spoiler.message(rpc.method.input_type)
        for name in way.named:
            setattr(made, name, spoiler.chance.choice(IN_PATHS))
        if way.body not in ("", "*"):
            # There is always a body.
            getattr(made, way.body).SetInParent()
        with suppress(ValueError, SerializeToJsonError):
            if len(way.query(said(made))) <= QUERY_MOST_BYTES:
                return made


def parameters(fields: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """`fields` as parameters, those of messages with a dot."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from parameters(value, f"{above}{name}.")
            continue
        for one in value if isinstance(value, list) else [value]:
            yield f"{above}{name}", str(one).lower() if isinstance(one, bool) else str(one)


async def by_rest(caller: Caller, way: Way, fields: dict[str, Any]) -> Answer:
    path, query = way.path(fields), way.query(fields)
    reply = await caller.request(way.verb, f"{path}?{query}" if query else path, way.said(fields))
    if reply.status == 200:
        return 0, "", {}
    problem = reply.problem
    return problem.code, problem.reason, dict(problem.violations)


async def by_grpc(caller: Caller, rpc: Rpc, channel: grpc.aio.Channel, message: Message) -> Answer:
    path = f"/{rpc.method.containing_service.full_name}/{rpc.method.name}"
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    try:
        await method(message.SerializeToString(), metadata=caller.metadata, timeout=10)
    except grpc.aio.AioRpcError as error:
        told = details(error)
        wrong = violations(error) if BadRequest in told else {}
        return error.code().value[0], told[ErrorInfo].reason, wrong
    return 0, "", {}


async def compare(caller: Caller, rpc: Rpc, way: Way, channel: grpc.aio.Channel, message: Message) -> None:
    """Makes the call both ways."""
    fields = said(message)
    first = await by_rest(caller, way, fields)
    answer = await by_grpc(caller, rpc, channel, message)
    # The first may have changed what the second finds; the third finds what the second did.
    if answer != first:
        assert answer == await by_rest(caller, way, fields), (way, fields, first)


@pytest.mark.parametrize("rpc", BOTH, ids=lambda rpc: rpc.name)
async def test_both_ways_give_the_same_answer(
    rest: Rest, channel: grpc.aio.Channel, number: int, rpc: Rpc
) -> None:
    spoiler, caller = Spoiler(SEED), somebody(rest, rpc)
    for _ in range(max(1, number // SHARE)):
        way = spoiler.chance.choice(ways(rpc))
        await compare(caller, rpc, way, channel, spoilt(spoiler, rpc, way))


# Good notifications, those at a bound, and bad ones: what of them is refused must not be decided by where it came in.
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
async def test_notifications_that_are_almost_good(
    feed: Caller, channel: grpc.aio.Channel, fields: dict[str, Any]
) -> None:
    (rpc,) = (rpc for rpc in BOTH if rpc.name == "IngestService.SendNotification")
    (way,) = ways(rpc)
    await compare(feed, rpc, way, channel, SendNotificationRequest(**fields))
