"""What a call failed with, as the callee said it on the wire, turned back into the errors of crown/errors.py.
The other direction stands in crown/problem.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from crown import errors
from crown.errors import CrownError, Violation

M = TypeVar("M", bound=Message)

# The class of an error whose reason has none of its own.
_BY_CODE: dict[grpc.StatusCode, type[CrownError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotAllowed,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.KeyReused,
    grpc.StatusCode.ABORTED: errors.InProgress,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Refused,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.OutcomeUnknown,
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
# How gRPC begins its words where it never had a connection, so that the call cannot have happened.
_NEVER_LEFT = (
    "failed to connect",
    "connections to all backends failing",
    "DNS resolution failed",
    "empty address",
)


class Failure(Protocol):
    """A call that failed, of gRPC's asyncio or of its other half."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def from_call(error: Failure) -> CrownError:
    """The error of a call that failed. Where nobody said what became of it, it is OutcomeUnknown."""
    status = _status(error.trailing_metadata())
    if status is not None:
        return from_status(status)
    words = error.details() or error.code().name.lower()
    if error.code() is grpc.StatusCode.UNAVAILABLE and not words.startswith(_NEVER_LEFT):
        return errors.OutcomeUnknown(f"the connection broke: {words}")
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.TooLarge(words)
    return _BY_CODE.get(error.code(), CrownError)(words)


def from_status(status: status_pb2.Status) -> CrownError:
    """The error that `status` tells of, with its reason, violations and when to retry."""
    info = next(_details(status, error_details_pb2.ErrorInfo), error_details_pb2.ErrorInfo())
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    kind = by_reason().get(info.reason) or _BY_CODE.get(code, CrownError)
    found = kind(status.message)
    found.reason = info.reason or kind.reason
    found.metadata = dict(info.metadata)
    found.violations = tuple(_violations(status))
    retry = next(_details(status, error_details_pb2.RetryInfo), None)
    found.retry_after_s = None if retry is None else retry.retry_delay.ToMilliseconds() / 1000
    return found


def _status(trailers: Iterable[tuple[str, str | bytes]] | None) -> status_pb2.Status | None:
    for name, value in trailers or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _details(status: status_pb2.Status, kind: type[M]) -> Iterator[M]:
    for packed in status.details:
        found = kind()
        if packed.Is(found.DESCRIPTOR) and packed.Unpack(found):
            yield found


def _violations(status: status_pb2.Status) -> Iterator[Violation]:
    for bad in _details(status, error_details_pb2.BadRequest):
        for one in bad.field_violations:
            yield Violation(one.field, one.description, one.reason)


@cache
def by_reason() -> dict[str, type[CrownError]]:
    """The class of each reason."""
    return {CrownError.reason: CrownError} | {kind.reason: kind for kind in _below(CrownError)}


def _below(kind: type[CrownError]) -> Iterator[type[CrownError]]:
    for child in kind.__subclasses__():
        yield child
        # Afterwards, so that of two with one reason the more exact one is kept.
        yield from _below(child)
