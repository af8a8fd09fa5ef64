"""The one way into a handler, through a real server: what gets in, what is refused, in which shape."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.rpc import error_details_pb2, status_pb2
from pymongo.errors import AutoReconnect

from crown import door as door_module
from crown import logs
from crown.auth import Authenticator, Keys, caller
from crown.door import Door, Limits
from crown.errors import DOMAIN, IntakeFull, NotFound, Violation
from crown.notification.v1 import (
    inbox_service_pb2,
    ingest_service_pb2,
    preference_service_pb2,
    realtime_service_pb2,
    status_service_pb2,
)
from crown.notification.v1.ingest_service_pb2 import (
    GetNotificationRequest,
    SendNotificationRequest,
    SendNotificationResponse,
)
from crown.notification.v1.notification_pb2 import Notification
from crown.notification.v1.realtime_service_pb2 import StreamRequest, SubscribeRequest, SubscribeResponse
from crown.open_streams import OpenStreams
from crown.revocations import Disconnect
from crown.tracing import current
from tests.unit.crown.issuer import AUDIENCE, ISSUER, Issuer

GET = "/crown.notification.v1.IngestService/GetNotification"
SEND = "/crown.notification.v1.IngestService/SendNotification"
BULK = "/crown.notification.v1.IngestService/SendBulkNotifications"
LIST = "/crown.notification.v1.InboxService/ListNotifications"
READY = "/crown.notification.v1.StatusService/GetReadiness"
SUBSCRIBE = "/crown.notification.v1.RealtimeService/Subscribe"

LIMIT_BYTES = 30_000
GOOD = SendNotificationRequest(type="PUSH", user_id="user123", data={"title": "Hi"})  # type: ignore[arg-type]


@dataclass
class Refusal:
    """An error as a caller sees it."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]
    rules: list[str]
    retry_s: float | None
    request_id: str
    trailers: dict[str, Any]


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, request = error_details_pb2.RetryInfo(), error_details_pb2.RequestInfo()
    has = {
        part.TypeName()
        for part in status.details
        for found in (info, bad, retry, request)
        if part.Unpack(found)
    }
    assert info.domain == DOMAIN
    return Refusal(
        error.code(),
        error.details() or "",
        info.reason,
        dict(info.metadata),
        {v.field: v.description for v in bad.field_violations},
        [v.reason for v in bad.field_violations],
        retry.retry_delay.ToMilliseconds() / 1000 if "google.rpc.RetryInfo" in has else None,
        request.request_id,
        trailers,
    )


def as_is(raw: bytes) -> bytes:
    """Neither packs nor unpacks: what goes over the wire."""
    return raw


Handler = Callable[[Any, Any], Any]


class Servicer:
    """Every RPC of every service: does what `behave` says, and remembers what came."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.principals: list[Any] = []
        self.traces: list[str] = []
        self.behave: Handler | None = None
        # Between two answers of a stream.
        self.between: Callable[[], object] = int

    def __getattr__(self, name: str) -> Any:
        return self._subscribe if name in {"Subscribe", "Stream"} else self._unary

    def _note(self, request: Any) -> None:
        self.seen.append(request)
        self.principals.append(caller())
        self.traces.append(current())

    async def _unary(self, request: Any, context: Any) -> Any:
        self._note(request)
        if self.behave is not None:
            return await self.behave(request, context)
        return SendNotificationResponse(notification_id="n")

    async def _subscribe(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._note(request)
        for offset in (1, 2):
            yield SubscribeResponse(offset=offset)
            self.between()
        if self.behave is not None:
            await self.behave(request, context)


@dataclass
class Caller:
    """Calls through the door. `logged` are the log lines of the run."""

    channel: grpc.aio.Channel
    servicer: Servicer
    issuer: Issuer
    logged: list[Any]
    streams: OpenStreams

    async def call(
        self,
        method: str,
        request: Any,
        token: str | None = None,
        timeout_s: float | None = 10,
        **metadata: str,
    ) -> bytes:
        """The raw answer to a message or to raw bytes; with the token of the service feed, or `token`, or none
        where it is empty."""
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        if token is None:
            token = self.issuer.token(use="service", sub="feed", scope="notifications.send")
        pairs = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        if token:
            pairs.append(("authorization", f"Bearer {token}"))
        return await self.unary(method)(raw, metadata=pairs, timeout=timeout_s)

    def unary(self, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """The RPC, taking and giving bytes."""
        return self.channel.unary_unary(method, request_serializer=as_is, response_deserializer=as_is)

    async def refused(self, *args: Any, **named: Any) -> Refusal:
        """The error that a call ends with."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(*args, **named)
        return refusal(caught.value)


def too_long(request: SendNotificationRequest) -> list[Violation]:
    """A rule beyond the protos."""
    found = (
        [Violation("data.title", "must not be forbidden", "words")]
        if "forbidden" in request.data.title
        else []
    )
    return [*found, Violation("kind", "must be known", "kind")] if request.kind == "unknown" else found


@asynccontextmanager
async def opened(issuer: Issuer, jwks: Path) -> AsyncIterator[Caller]:
    servicer = Servicer()
    authenticator = Authenticator(Keys(issuer.publish(jwks)), ISSUER, AUDIENCE)
    limits = Limits(usual=LIMIT_BYTES, by_method=(("SendBulkNotifications", 2 * LIMIT_BYTES),))
    streams = OpenStreams()
    door = Door(authenticator, limits, streams=streams)
    server = grpc.aio.server()
    for module in (
        inbox_service_pb2,
        ingest_service_pb2,
        preference_service_pb2,
        realtime_service_pb2,
        status_service_pb2,
    ):
        (service,) = module.DESCRIPTOR.services_by_name.values()
        server.add_generic_rpc_handlers((door.handlers(service, servicer, {"SendNotification": too_long}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with structlog.testing.capture_logs([logs.with_ids]) as logged:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Caller(channel, servicer, issuer, logged, streams)
    await server.stop(None)


@pytest.fixture
async def door(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Caller]:
    """Every service behind the door."""
    async with opened(issuer, tmp_path / "jwks.json") as found:
        yield found


async def test_a_good_call_reaches_its_handler(door: Caller) -> None:
    answer = await door.call(SEND, GOOD)
    assert SendNotificationResponse.FromString(answer).notification_id == "n"
    assert door.servicer.seen == [GOOD]
    assert (door.servicer.principals[0].use, door.servicer.principals[0].subject) == ("service", "feed")


# -- decoding


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"\x08",
        b"\x1a\x05ab",
        b"\x1a\x02\xff\xfe",  # user_id that is not UTF-8
        b"\x2a\x03\x0a\x01\x80",  # the same in data.title
        b"\x0f\x00",  # a wire type that there is not
    ],
)
async def test_what_is_no_message_is_invalid(door: Caller, raw: bytes) -> None:
    found = await door.refused(SEND, raw)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE")
    assert door.servicer.seen == []


async def test_an_empty_message_breaks_every_rule_at_once(door: Caller) -> None:
    found = await door.refused(SEND, b"")
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert found.reason == "INVALID_REQUEST"
    assert set(found.violations) == {"user_id", "data"}


@pytest.mark.parametrize(("method", "limit"), [(SEND, LIMIT_BYTES), (BULK, 2 * LIMIT_BYTES)])
async def test_a_request_may_be_as_large_as_its_limit_and_no_larger(
    door: Caller, method: str, limit: int
) -> None:
    def padded(size: int) -> bytes:
        # An unknown field of just the size that is missing: tag, length in three bytes, content.
        body = GOOD.SerializeToString() if method == SEND else b"\x0a\x00"
        room = size - len(body) - 5
        length = bytes([room & 0x7F | 0x80, room >> 7 & 0x7F | 0x80, room >> 14])
        return body + b"\xfa\x3f" + length + b"x" * room

    assert len(padded(limit)) == limit
    await door.call(method, padded(limit))
    found = await door.refused(method, padded(limit + 1))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE")
    assert str(limit) in found.message


def nested(depth: int, *, lists: bool = False) -> bytes:
    """A request whose data.extra nests `depth` levels; written by hand, since a parser refuses the deepest."""

    def field(number: int, content: bytes) -> bytes:
        length = len(content)
        size = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
        return bytes([number << 3 | 2]) + size + content

    value = Value(number_value=1).SerializeToString()
    for _ in range(depth - 1):
        value = field(6, field(1, value)) if lists else field(5, field(1, field(1, b"k") + field(2, value)))
    struct = field(1, field(1, b"k") + field(2, value))
    return field(3, b"user123") + field(5, field(1, b"Hi") + field(5, struct))


@pytest.mark.parametrize("lists", [False, True], ids=["structs", "lists"])
@pytest.mark.parametrize(
    ("depth", "reasons"),
    [
        (1, {None}),
        (16, {None}),
        (17, {"INVALID_REQUEST"}),
        (33, {"INVALID_REQUEST", "UNDECODABLE"}),
        (40, {"INVALID_REQUEST", "UNDECODABLE"}),
        (99, {"UNDECODABLE"}),
    ],
)
async def test_free_form_parts_nest_sixteen_deep(
    door: Caller, depth: int, reasons: set[str | None], lists: bool
) -> None:
    request = nested(depth, lists=lists)
    if None in reasons:
        await door.call(SEND, request)
        return
    found = await door.refused(SEND, request)
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert found.reason in reasons
    if found.reason == "INVALID_REQUEST":
        assert found.violations == {"data.extra": "must be at most 16 levels deep"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
async def test_a_number_that_json_does_not_have_is_refused(door: Caller, number: float) -> None:
    request = SendNotificationRequest(user_id="user123", data={"title": "Hi"})  # type: ignore[arg-type]
    inner = Struct(fields={"deep": Value(list_value=ListValue(values=[Value(number_value=number)]))})
    request.data.extra.CopyFrom(Struct(fields={"k": Value(struct_value=inner)}))
    found = await door.refused(SEND, request)
    assert found.violations == {"data.extra": "must hold finite numbers only"}


# -- who calls


async def test_without_a_token_the_answer_says_how_to_get_one(door: Caller) -> None:
    found = await door.refused(SEND, GOOD, token="")
    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    assert "crown token --service" in found.message


@pytest.mark.parametrize("authorization", ["Basic dXNlcjpwdw==", "Bearer", "Bearer nonsense", "nonsense"])
async def test_another_kind_of_token_is_refused(door: Caller, authorization: str) -> None:
    found = await door.refused(SEND, GOOD, token="", authorization=authorization)
    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_who_calls_is_asked_before_what_they_send(door: Caller) -> None:
    assert (await door.refused(SEND, b"\xff", token="")).reason == "TOKEN_MISSING"
    user = door.issuer.token()
    assert (await door.refused(SEND, b"", token=user)).reason == "NOT_ALLOWED"


@pytest.mark.parametrize(
    ("method", "claims", "user_id", "allowed"),
    [
        (LIST, {"use": "user", "sub": "user123"}, "user123", True),
        (LIST, {"use": "user", "sub": "user123"}, "victim", False),
        (LIST, {"use": "user", "sub": "user123"}, "USER123", False),
        (LIST, {"use": "user", "sub": "user123", "scope": "inbox.read"}, "victim", False),
        (LIST, {"use": "service", "sub": "feed", "scope": "inbox.read"}, "anybody", True),
        (LIST, {"use": "service", "sub": "feed", "scope": "notifications.send"}, "anybody", False),
        (LIST, {"use": "service", "sub": "feed", "scope": "inbox"}, "anybody", False),
        (LIST, {"use": "service", "sub": "user123", "scope": ""}, "user123", False),
        (LIST, {"use": "operator", "sub": "olga"}, "anybody", True),
        (SEND, {"use": "service", "sub": "feed", "scope": "notifications.send"}, "user123", True),
        (SEND, {"use": "user", "sub": "user123"}, "user123", False),
        (SEND, {"use": "operator", "sub": "olga"}, "user123", False),
        (SEND, {"use": "service", "sub": "feed", "scope": "inbox.read"}, "user123", False),
    ],
)
async def test_the_rule_of_the_rpc_decides_on_the_decoded_message(
    door: Caller, method: str, claims: dict[str, Any], user_id: str, allowed: bool
) -> None:
    request: Any = GOOD if method == SEND else inbox_service_pb2.ListNotificationsRequest(user_id=user_id)
    token = door.issuer.token(**claims)
    if allowed:
        await door.call(method, request, token)
        assert door.servicer.principals[-1].subject == claims["sub"]
        return
    found = await door.refused(method, request, token)
    assert (found.code, found.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    needed = "notifications.send" if method == SEND else "inbox.read"
    assert f"the scope {needed}" in found.metadata["needs"]
    assert door.servicer.seen == []


PAGE = "/crown.notification.v1.RealtimeService/Stream"


async def opened_page(door: Caller, user_id: str, written: str, authorization: str | None = None) -> Any:
    """What the handler of an RPC got whose request may hold the token."""
    request = StreamRequest(user_id=user_id, access_token=written)
    metadata = [] if authorization is None else [("authorization", authorization)]
    rpc = door.channel.unary_stream(PAGE, request_serializer=as_is, response_deserializer=as_is)
    await rpc(request.SerializeToString(), metadata=metadata, timeout=10).read()
    return door.servicer.seen[-1]


async def test_a_token_may_come_in_the_field_that_the_rule_names(door: Caller) -> None:
    seen = await opened_page(door, "user123", door.issuer.token())
    assert door.servicer.principals[-1].subject == "user123"
    # The handler cannot log it.
    assert seen == StreamRequest(user_id="user123")


async def test_the_header_goes_before_the_field(door: Caller) -> None:
    other = door.issuer.token(sub="ann")
    await opened_page(door, "user123", other, f"Bearer {door.issuer.token()}")
    assert door.servicer.principals[-1].subject == "user123"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await opened_page(door, "user123", door.issuer.token(), "Bearer nonsense")
    assert refusal(caught.value).reason == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("user_id", "written", "reason"),
    [
        ("user123", "", "TOKEN_MISSING"),
        ("user123", "nonsense", "TOKEN_INVALID"),
        ("user123", "x" * 9_000, "TOKEN_INVALID"),
        ("ann", None, "NOT_ALLOWED"),
    ],
)
async def test_a_token_in_a_field_is_no_easier(
    door: Caller, user_id: str, written: str | None, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await opened_page(door, user_id, door.issuer.token() if written is None else written)
    assert refusal(caught.value).reason == reason
    assert door.servicer.seen == []


REVOKED_AT = 4e9


@pytest.mark.parametrize(
    ("told", "ends"),
    [
        pytest.param(
            lambda streams: streams.cut_off(Disconnect("user123", "", REVOKED_AT)),
            (grpc.StatusCode.UNAUTHENTICATED, "the token was revoked"),
            id="revoked",
        ),
        pytest.param(
            lambda streams: streams.cut_off(Disconnect("user123", "", None)),
            (grpc.StatusCode.UNAVAILABLE, "open another stream"),
            id="sent away",
        ),
        pytest.param(
            lambda streams: streams.withdraw(frozenset(["ec"])),
            (grpc.StatusCode.UNAUTHENTICATED, "the token was revoked"),
            id="its key was withdrawn",
        ),
        pytest.param(
            lambda streams: streams.cut_off(Disconnect("user124", "", REVOKED_AT)), None, id="another's"
        ),
        pytest.param(lambda streams: streams.withdraw(frozenset(["rsa"])), None, id="another key"),
    ],
)
async def test_a_stream_ends_when_its_token_is_good_no_longer(
    door: Caller, told: Callable[[OpenStreams], None], ends: tuple[grpc.StatusCode, str] | None
) -> None:
    door.servicer.between = lambda: told(door.streams)
    rpc = door.channel.unary_stream(SUBSCRIBE, request_serializer=as_is, response_deserializer=as_is)
    metadata = (("authorization", f"Bearer {door.issuer.token()}"),)
    call = rpc(SubscribeRequest(user_id="user123").SerializeToString(), metadata=metadata, timeout=10)
    if ends is None:
        assert len([raw async for raw in call]) == 2
        return
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert (caught.value.code(), caught.value.details()) == ends


async def test_a_field_that_no_rule_names_holds_no_token(door: Caller) -> None:
    # Unknown to SubscribeRequest, and of the same number as in StreamRequest.
    request = StreamRequest(user_id="user123", access_token=door.issuer.token()).SerializeToString()
    rpc = door.channel.unary_stream(SUBSCRIBE, request_serializer=as_is, response_deserializer=as_is)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(request, timeout=10).read()
    assert refusal(caught.value).reason in {"TOKEN_MISSING", "UNDECODABLE"}


@pytest.mark.parametrize("token", ["", "nonsense"])
async def test_an_open_rpc_asks_for_no_token(door: Caller, token: str) -> None:
    await door.call(READY, b"", token=token)
    assert door.servicer.principals[-1].use == "nobody"


async def test_one_call_s_principal_is_not_the_next_one_s(door: Caller) -> None:
    await door.call(SEND, GOOD)
    await door.call(READY, b"", token="")
    assert [principal.subject for principal in door.servicer.principals] == ["feed", ""]


# -- is it good


async def test_all_violations_come_at_once(door: Caller) -> None:
    bad = SendNotificationRequest(
        type=77,  # type: ignore[arg-type]
        channels=[2],  # type: ignore[list-item]
        user_id="a b",
        user_ids=["a.>", "ok"],
        data={"title": "x" * 201, "message": "nul\x00"},  # type: ignore[arg-type]
        kind="unknown",
        idempotency_key="a b",
    )
    found = await door.refused(SEND, bad)
    assert set(found.violations) == {
        "type",
        "channels",
        "user_id",
        "user_ids[0]",
        "data.title",
        "data.message",
        "kind",
        "idempotency_key",
    }
    assert found.violations["type"] == "must be one of REAL_TIME, PUSH, EMAIL, SMS, IN_APP"
    assert "and 4 more" in found.message


async def test_a_field_that_breaks_a_rule_of_the_proto_hears_of_that_alone(door: Caller) -> None:
    bad = SendNotificationRequest(user_id="u", data={"title": f"forbidden{'x' * 200}"})  # type: ignore[arg-type]
    assert (await door.refused(SEND, bad)).violations == {"data.title": "must be at most 200 characters"}
    bad.data.title = "forbidden"
    assert (await door.refused(SEND, bad)).violations == {"data.title": "must not be forbidden"}


async def test_very_many_violations_still_reach_the_caller(door: Caller) -> None:
    bad = SendNotificationRequest(user_ids=[f"a {n}" for n in range(3000)], data={"title": "Hi"})  # type: ignore[arg-type]
    found = await door.refused(SEND, bad)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert "user_ids[0]" in found.violations
    assert "and many more" in found.message


async def test_a_long_name_from_the_request_does_not_swell_the_answer(door: Caller) -> None:
    request = preference_service_pb2.UpdateNotificationPreferencesRequest(user_id="user123")
    request.preferences.categories["é" * 12_000].push = True
    found = await door.refused(
        "/crown.notification.v1.PreferenceService/UpdateNotificationPreferences", request, door.issuer.token()
    )
    assert found.reason == "INVALID_REQUEST"
    assert len(found.message) < 500


# -- the handler's errors


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret hunter2 mongodb://me:pw@db"),
        KeyError("hunter2"),
        AssertionError("hunter2"),
        ValueError("hunter2"),
        RecursionError("hunter2"),
        ExceptionGroup("hunter2", [ValueError("hunter2")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_text_of_a_bug_stays_here(door: Caller, error: Exception) -> None:
    async def behave(_request: Any, _context: Any) -> None:
        raise error

    door.servicer.behave = behave
    found = await door.refused(SEND, GOOD, x_request_id="r-1")
    assert (found.code, found.reason, found.request_id) == (grpc.StatusCode.INTERNAL, "INTERNAL", "r-1")
    assert "hunter2" not in str(found)
    (line,) = [line for line in door.logged if line["event"] == "rpc_failed"]
    assert (line["request_id"], line["method"]) == (
        "r-1",
        "crown.notification.v1.IngestService.SendNotification",
    )


@pytest.mark.parametrize(
    ("method", "request_", "whom"),
    [
        (LIST, inbox_service_pb2.ListNotificationsRequest(user_id="ann"), {"user_id": "ann"}),
        (GET, GetNotificationRequest(notification_id=str(uuid.UUID(int=7))), {"user_id": ""}),
    ],
)
async def test_what_operators_do_to_people_is_logged(
    door: Caller, method: str, request_: Any, whom: dict[str, str]
) -> None:
    await door.call(method, request_, door.issuer.token(use="operator", sub="olga"), x_request_id="r-1")
    (line,) = [line for line in door.logged if line["event"] == "operator_called"]
    assert (line["by"], line["request_id"]) == ("olga", "r-1")
    assert {name: line[name] for name in whom} == whom
    await door.call(
        LIST, inbox_service_pb2.ListNotificationsRequest(user_id="ann"), door.issuer.token(sub="ann")
    )
    assert len([line for line in door.logged if line["event"] == "operator_called"]) == 1


async def test_every_line_of_a_call_carries_its_ids(door: Caller) -> None:
    async def behave(_request: Any, _context: Any) -> Any:
        logs.get("handler").info("deep_within")
        return Notification()

    door.servicer.behave = behave
    request = GetNotificationRequest(notification_id=(notification_id := str(uuid.uuid4())))
    await door.call(GET, request, x_request_id="r-1")
    await door.call(GET, request)
    given, made = [line for line in door.logged if line["event"] == "deep_within"]
    assert (given["notification_id"], given["request_id"]) == (notification_id, "r-1")
    assert len(made["request_id"]) == 36
    assert given["trace_id"] != made["trace_id"]


async def test_a_store_that_does_not_answer_is_told_without_its_text(door: Caller) -> None:
    async def behave(_request: Any, _context: Any) -> None:
        raise AutoReconnect("10.0.0.7:27017: connection refused")

    door.servicer.behave = behave
    found = await door.refused(SEND, GOOD)
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert "10.0.0.7" not in str(found)


async def test_an_answer_that_cannot_be_written_is_a_bug(door: Caller) -> None:
    async def behave(_request: Any, _context: Any) -> Any:
        return None

    door.servicer.behave = behave
    assert (await door.refused(SEND, GOOD)).code is grpc.StatusCode.INTERNAL


async def test_an_error_says_when_to_come_back(door: Caller) -> None:
    async def behave(_request: Any, _context: Any) -> None:
        raise IntakeFull("the intake is full", retry_after_s=1.2)

    door.servicer.behave = behave
    found = await door.refused(SEND, GOOD)
    assert (found.code, found.reason, found.retry_s) == (grpc.StatusCode.UNAVAILABLE, "INTAKE_FULL", 1.2)
    assert found.trailers["retry-after"] == "2"


async def test_where_waiting_does_not_help_nothing_says_so(door: Caller) -> None:
    async def behave(_request: Any, _context: Any) -> None:
        raise NotFound("none")

    door.servicer.behave = behave
    found = await door.refused(SEND, GOOD)
    assert found.retry_s is None
    assert "retry-after" not in found.trailers


async def test_every_error_names_its_request(door: Caller) -> None:
    assert (await door.refused(SEND, b"\xff", x_request_id="mine")).request_id == "mine"
    made = [(await door.refused(SEND, b"\xff")).request_id for _ in range(2)]
    assert len(set(made)) == 2
    assert all(made)


async def test_a_call_that_is_not_there_is_refused_in_the_same_shape(door: Caller) -> None:
    found = await door.refused(SEND + "s", GOOD, x_request_id="mine")
    assert (found.code, found.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED")
    assert found.request_id == "mine"
    assert door.servicer.seen == []


async def test_a_huge_request_id_is_not_thrown_back(door: Caller) -> None:
    found = await door.refused(SEND, b"\xff", x_request_id="x" * 7_000)
    assert found.reason == "UNDECODABLE"
    assert len(found.request_id) <= 128


# -- time


async def forever(_request: Any, _context: Any) -> None:
    await asyncio.Event().wait()


async def test_a_clear_error_beats_the_caller_s_deadline(door: Caller) -> None:
    door.servicer.behave = forever
    found = await door.refused(SEND, GOOD, timeout_s=0.3)
    assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN")
    assert "same idempotency key" in found.message


async def test_a_call_without_a_deadline_ends_too(door: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "DEADLINE_S", 0.05)
    door.servicer.behave = forever
    assert (await door.refused(SEND, GOOD, timeout_s=None)).reason == "OUTCOME_UNKNOWN"


async def test_a_caller_who_leaves_stops_the_handler(door: Caller) -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def behave(_request: Any, _context: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    door.servicer.behave = behave
    token = door.issuer.token(use="service", sub="feed", scope="notifications.send")
    metadata = (("authorization", f"Bearer {token}"),)
    call = door.unary(SEND)(GOOD.SerializeToString(), metadata=metadata)
    await entered.wait()
    call.cancel()
    await asyncio.wait_for(left.wait(), 5)


# -- trace


async def test_the_caller_s_trace_goes_on(door: Caller) -> None:
    mine = f"00-{'a' * 32}-{'b' * 16}-01"
    await door.call(SEND, GOOD, traceparent=mine)
    await door.call(SEND, GOOD, traceparent="nonsense")
    await door.call(SEND, GOOD)
    assert door.servicer.traces[0] == mine
    assert len(set(door.servicer.traces)) == 3


# -- streams


async def stream(door: Caller, request: SubscribeRequest, token: str) -> list[int]:
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    rpc = door.channel.unary_stream(SUBSCRIBE, request_serializer=as_is, response_deserializer=as_is)
    call = rpc(request.SerializeToString(), metadata=metadata, timeout=5)
    return [SubscribeResponse.FromString(raw).offset async for raw in call]


async def test_a_stream_passes_the_same_door(door: Caller) -> None:
    mine = SubscribeRequest(user_id="user123")
    assert await stream(door, mine, door.issuer.token()) == [1, 2]
    for request, token, reason in (
        (mine, "", "TOKEN_MISSING"),
        (SubscribeRequest(user_id="victim"), door.issuer.token(), "NOT_ALLOWED"),
        (SubscribeRequest(user_id="a b"), door.issuer.token(sub="a b"), "INVALID_REQUEST"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream(door, request, token)
        assert refusal(caught.value).reason == reason


async def test_a_bug_in_a_stream_keeps_its_text_too(door: Caller) -> None:
    async def behave(_request: Any, _context: Any) -> None:
        raise RuntimeError("hunter2")

    door.servicer.behave = behave
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(door, SubscribeRequest(user_id="user123"), door.issuer.token())
    found = refusal(caught.value)
    assert found.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in str(found)


async def test_text_that_is_not_base64_in_a_binary_header_is_harmless(door: Caller) -> None:
    # gRPC itself hands on whatever bytes a -bin header has.
    raw = base64.b64encode(b"\xff\xfe")
    token = door.issuer.token(use="service", sub="feed", scope="notifications.send")
    metadata = (("authorization", f"Bearer {token}"), ("x-any-bin", raw))
    await door.unary(SEND)(GOOD.SerializeToString(), metadata=metadata, timeout=5)
