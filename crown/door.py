"""The one way into a handler. For each RPC, in this order: decode, who calls, may they, is the request good; of a
stream of requests: who calls, may they, and then for each request: decode, is it good. Then the handler within the
caller's deadline; then its answer, or an error in the one shape that every surface has. A method is wrapped once at
start-up, so that a call costs no chain of interceptors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from pymongo.errors import PyMongoError

from crown import access, auth, ids, logs, metrics, problem, tracing
from crown.errors import (
    CrownError,
    InvalidRequest,
    OutcomeUnknown,
    StoreUnavailable,
    TooLarge,
    Undecodable,
    Unsupported,
    Violation,
)
from crown.incoming import Incoming
from crown.open_streams import OpenStreams
from crown.validation import together, violations

log = logs.get(__name__)

# Seconds a call may take where its caller sets no deadline, and at most where it does.
DEADLINE_S = 15.0
# Seconds kept back from the caller's deadline, so that a clear error still reaches them.
MARGIN_S = 0.05
# Seconds that a caller's next message is waited for before its stream is ended with an error.
_LAST_WORD_S = 0.1

_REQUEST_ID_MOST_CHARS = 128
# The field of a request about one notification.
_NOTIFICATION = "notification_id"
# The codes of errors that are no fault of the caller's.
_OURS = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
    }
)

Context = grpc.aio.ServicerContext[Any, Any]
# What is wrong with a decoded request; empty where nothing is.
Check = Callable[[Any], Sequence[Violation]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Most bytes of a request, by method name; `usual` for all others."""

    usual: int = 256 << 10
    by_method: tuple[tuple[str, int], ...] = (
        ("SendBulkNotifications", 4 << 20),
        ("StreamNotifications", 4 << 20),
        ("FilterNotifications", 1 << 20),
        # With headers and the frame around what the provider posted.
        ("ReceiveSendGridEvents", (1 << 20) + 4_096),
        ("ReceiveTwilioInbound", (1 << 20) + 4_096),
        ("ReceiveTwilioStatus", (1 << 20) + 4_096),
        ("ReceiveSns", (1 << 20) + 4_096),
    )

    def of(self, method: str) -> int:
        """The bound of `method`."""
        return dict(self.by_method).get(method, self.usual)


class Door:
    """Wraps the methods of servicers. One a process. When `going` is set, streams of requests are read no
    further; `streams` ends those whose tokens are no longer good."""

    def __init__(
        self,
        authenticator: auth.Authenticator,
        limits: Limits = Limits(),
        going: asyncio.Event | None = None,
        streams: OpenStreams | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._limits = limits
        self._going = going or asyncio.Event()
        self._streams = streams or OpenStreams()

    def handlers(
        self, service: ServiceDescriptor, servicer: object, checks: Mapping[str, Check]
    ) -> grpc.GenericRpcHandler:
        """The RPCs of `service`, as `servicer` has them, each behind this door. `checks` find violations
        beyond the rules in the protos, by method name."""
        wrapped = {
            m.name: self._handler(m, getattr(servicer, m.name), checks.get(m.name)) for m in service.methods
        }
        return _Service(service.full_name, wrapped)

    def _handler(
        self, method: MethodDescriptor, behaviour: Any, check: Check | None
    ) -> grpc.RpcMethodHandler[Any, Any]:
        entry = _Entry(self._authenticator, method, self._limits.of(method.name), check)
        rule = access.rule(method)
        if method.client_streaming and (access.is_open(rule) or rule.token):
            raise ValueError(f"{method.full_name}: a stream of requests needs a token in its headers")
        if method.client_streaming and method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(_both(entry, behaviour, self._going, self._streams))
        if method.client_streaming:
            raise ValueError(f"{method.full_name}: streams of requests with one answer are not served here")
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(_stream(entry, behaviour, self._streams))
        return grpc.unary_unary_rpc_method_handler(_unary(entry, behaviour))


class _Service(grpc.GenericRpcHandler):
    """The calls of one service. What it does not know is refused here, since gRPC would leave out why."""

    def __init__(self, name: str, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._folder = f"/{name}/"
        self._handlers = {self._folder + method: handler for method, handler in handlers.items()}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of this path; None where it is another service's."""
        path = handler_call_details.method
        found = self._handlers.get(path)
        if found is None and path.startswith(self._folder):
            return grpc.unary_unary_rpc_method_handler(_no_such_call)
        return found


async def _no_such_call(_raw: bytes, context: Context) -> bytes:
    error = Unsupported("there is no such call; compare the contract with that of this server")
    request_id = _metadata(context)["x-request-id"]
    await context.abort(error.code, error.message, problem.trailers(error, request_id))
    raise error


class _Entry:
    """What every call of one method passes before its handler."""

    __slots__ = (
        "_authenticator",
        "_check",
        "_limit",
        "_may",
        "_names_one",
        "_open",
        "_self",
        "_step",
        "_token",
        "_type",
        "method",
        "seconds",
    )

    def __init__(
        self, authenticator: auth.Authenticator, method: MethodDescriptor, limit: int, check: Check | None
    ) -> None:
        self._authenticator = authenticator
        self._may = access.check(method)
        self._check = check
        self._open = access.is_open(access.rule(method))
        self._token = access.rule(method).token
        self._self = access.rule(method).self
        self._type: type[Message] = GetMessageClass(method.input_type)
        self._limit = limit
        self._names_one = _NOTIFICATION in method.input_type.fields_by_name
        self.method = method.full_name
        self._step = f"{method.containing_service.full_name}/{method.name}"
        self.seconds = metrics.RPC.labels(method.full_name, "OK")

    def span(self, metadata: dict[str, Any]) -> tracing.Span | tracing.Nothing:
        """The call as a step of its caller's trace."""
        return tracing.served(metadata.get(tracing.HEADER), self._step)

    async def admit(self, raw: bytes, metadata: dict[str, Any]) -> Message:
        """The request, decoded, allowed and valid. Raises CrownError."""
        auth.set_caller(auth.NOBODY)
        if self._open:
            request = self._decode(raw)
        elif self._token:
            request = self._decode(raw)
            principal = await self._identify(metadata, getattr(request, self._token))
            # Whatever is done with the request from here on, the token is not in it.
            request.ClearField(self._token)
            self._may(principal, request)
        else:
            principal = await self._identify(metadata)
            request = self._decode(raw)
            self._may(principal, request)
        self._must_be_good(request)
        if self._names_one:
            logs.bind(notification_id=getattr(request, _NOTIFICATION))
        self._note_operator(request)
        return request

    async def begin(self, metadata: dict[str, Any]) -> auth.Principal:
        """Who opens a stream of requests, allowed: its rule can go by no request. Raises CrownError."""
        auth.set_caller(auth.NOBODY)
        principal = await self._identify(metadata)
        self._may(principal, self._type())
        return principal

    def further(self, raw: bytes) -> Message:
        """The next request of a stream, decoded and valid. Raises CrownError."""
        request = self._decode(raw)
        self._must_be_good(request)
        return request

    def _note_operator(self, request: Message) -> None:
        """Who operates the suite may look at people and change what is theirs, and leaves a line each time."""
        principal = auth.caller()
        if principal.use == "operator" and (self._self or self._names_one):
            user_id = getattr(request, self._self) if self._self else ""
            log.info("operator_called", method=self.method, by=principal.subject, user_id=user_id)

    def _must_be_good(self, request: Message) -> None:
        broken = violations(request)
        if self._check is not None:
            broken = together(broken, self._check(request))
        if broken:
            raise InvalidRequest.of(broken)

    async def _identify(self, metadata: dict[str, Any], written: str = "") -> auth.Principal:
        token = auth.bearer(metadata.get("authorization"), written)
        principal = await self._authenticator.principal(token)
        auth.set_caller(principal)
        return principal

    def _decode(self, raw: bytes) -> Message:
        if len(raw) > self._limit:
            raise TooLarge(f"the request has {len(raw)} bytes; at most {self._limit} are allowed")
        try:
            return self._type.FromString(raw)
        except (DecodeError, ValueError, RecursionError) as error:
            raise Undecodable("the request is not a message of this call, or nests too deep") from error


def _unary(entry: _Entry, behaviour: Callable[[Any, Context], Awaitable[Message]]) -> Any:
    async def call(raw: bytes, context: Context) -> bytes:
        began = time.perf_counter()
        metadata = _metadata(context)
        with entry.span(metadata):
            try:
                async with asyncio.timeout(_time_left(context)):
                    request = await entry.admit(raw, metadata)
                    answer = (await behaviour(request, context)).SerializeToString()
            except Exception as error:
                await _refuse(entry, error, metadata, context, began)
        entry.seconds.observe(time.perf_counter() - began)
        return answer

    return call


def _stream(
    entry: _Entry, behaviour: Callable[[Any, Context], AsyncGenerator[Message, None]], streams: OpenStreams
) -> Any:
    async def call(raw: bytes, context: Context) -> AsyncIterator[bytes]:
        began = time.perf_counter()
        metadata = _metadata(context)
        with entry.span(metadata):
            try:
                request = await entry.admit(raw, metadata)
                with streams.opened(auth.caller()) as stream:
                    # Closed here and now when the caller leaves, not when the garbage collector comes by.
                    async with aclosing(behaviour(request, context)) as answers:
                        async for answer in answers:
                            yield answer.SerializeToString()
                            # Who waits long for the next one has to look by itself, as realtime does.
                            stream.must_go_on()
            except Exception as error:
                await _refuse(entry, error, metadata, context, began)

    return call


def _both(
    entry: _Entry,
    behaviour: Callable[[AsyncGenerator[Any, None], Context], AsyncGenerator[Message, None]],
    going: asyncio.Event,
    streams: OpenStreams,
) -> Any:
    async def call(incoming: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        began = time.perf_counter()
        metadata = _metadata(context)
        with entry.span(metadata):
            try:
                principal = await entry.begin(metadata)
                with streams.opened(principal) as stream:
                    requests = _requests(entry, Incoming(incoming, stream, going))
                    async with aclosing(requests), aclosing(behaviour(requests, context)) as answers:
                        async for answer in answers:
                            yield answer.SerializeToString()
            except Exception as error:
                await _hear_out(incoming)
                await _refuse(entry, error, metadata, context, began)

    return call


async def _hear_out(incoming: AsyncIterator[bytes]) -> None:
    """Lets the caller finish what it is saying: a Python client whose message is cut off by our answer tells its
    caller of an internal error, and not of our answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORD_S):
            await anext(incoming, None)


async def _requests(entry: _Entry, incoming: Incoming) -> AsyncGenerator[Message, None]:
    async with aclosing(incoming.frames()) as frames:
        async for raw in frames:
            yield entry.further(raw)


def _metadata(context: Context) -> dict[str, Any]:
    """What came with the call. The request id among it, made where there is none, is in every line of the log."""
    found = dict(context.invocation_metadata() or ())
    request_id = str(found.get("x-request-id") or ids.fresh_request())
    found["x-request-id"] = request_id
    logs.bind(request_id=request_id[:_REQUEST_ID_MOST_CHARS])
    return found


def _time_left(context: Context) -> float:
    left = context.time_remaining()
    return DEADLINE_S if left is None else min(max(left - MARGIN_S, 0.0), DEADLINE_S)


async def _refuse(
    entry: _Entry, error: Exception, metadata: dict[str, Any], context: Context, began: float
) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    request_id = metadata["x-request-id"]
    known = _known(error)
    if known is None:
        log.error("rpc_failed", method=entry.method, request_id=request_id, exc_info=error)
        known = CrownError("internal error; the request id finds it in the logs")
    metrics.RPC.labels(entry.method, known.code.name).observe(time.perf_counter() - began)
    tracing.note(rpc_status=known.code.name, reason=known.reason)
    if known.code in _OURS:
        tracing.fail()
    await context.abort(known.code, problem.shortened(known.message), problem.trailers(known, request_id))


def _known(error: Exception) -> CrownError | None:
    match error:
        case CrownError():
            return error
        case TimeoutError():
            return OutcomeUnknown("there was no time to finish; retry with the same idempotency key")
        case PyMongoError():
            return StoreUnavailable("the store does not answer; retry")
        case _:
            return None
