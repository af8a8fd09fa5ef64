"""The errors that may cross a service boundary; crown/door.py turns them into a gRPC status with details.

CrownError
├── InvalidRequest      INVALID_ARGUMENT      what the caller sent breaks the contract
│   └── Undecodable     INVALID_ARGUMENT      …and is not even a message
├── Unauthenticated     UNAUTHENTICATED       the token does not verify
│   └── TokenMissing    UNAUTHENTICATED       …or there is none
├── NotAllowed          PERMISSION_DENIED     a good token for somebody else
├── NotFound            NOT_FOUND
├── Unsupported         UNIMPLEMENTED         no such call, or not by this method
├── KeyReused           ALREADY_EXISTS        idempotency key with another body
├── InProgress          ABORTED               the same call is being worked on
├── Stale               ABORTED               somebody else changed it first; read again
├── TooLarge            RESOURCE_EXHAUSTED
├── RateLimited         RESOURCE_EXHAUSTED    the caller is above its rate; nothing happened; retry later
├── CapReached          RESOURCE_EXHAUSTED    a cap on spending or on the number of messages
├── SignatureInvalid    PERMISSION_DENIED     not from the provider that it claims to be from
├── Refused             FAILED_PRECONDITION   a provider's final no, or nothing may be sent
│   └── Suppressed, NotReplayable
├── Unavailable         UNAVAILABLE           nothing happened; retry
│   └── IntakeFull, Overloaded, BusUnavailable, StoreUnavailable, ProviderUnavailable, NotReady
├── DeadlineTooShort    DEADLINE_EXCEEDED     nothing happened: too little time was left to begin
└── OutcomeUnknown      DEADLINE_EXCEEDED     it may have happened; retry with the same key

Anything else that escapes a handler is a bug: logged, and told as INTERNAL without its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import grpc

DOMAIN = "crown.notification.v1"
# More of one request are not told.
VIOLATIONS_MOST = 100


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the field as the request names it, what is allowed, and the rule's stable id."""

    field: str
    description: str
    rule: str = ""


class CrownError(Exception):
    """An error with a gRPC code and a stable reason of error_reason.proto; its message is for people."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: str = "INTERNAL"
    # Whether the message has nothing in it that anybody sent, so that logs may keep it (crown/backtrace.py).
    safe_text: ClassVar[bool] = False
    # What the answer carries beside the status.
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})


class InvalidRequest(CrownError):
    """The request breaks rules; carries every violation."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"

    @classmethod
    def of(cls, violations: Sequence[Violation]) -> InvalidRequest:
        """The error that lists `violations`, of which there is at least one."""
        message = "; ".join(
            f"{v.field}: {v.description}" if v.field else v.description for v in violations[:5]
        )
        more: object = len(violations) - 5 if len(violations) < VIOLATIONS_MOST else "many"
        return cls(f"{message}; and {more} more" if len(violations) > 5 else message, violations=violations)


class Undecodable(InvalidRequest):
    """The bytes are no message of this RPC, or nest too deep."""

    reason = "UNDECODABLE"


class Unauthenticated(CrownError):
    """There is no token, or it does not verify: TokenMissing and this."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "TOKEN_INVALID"


class TokenMissing(Unauthenticated):
    """There is no token."""

    reason = "TOKEN_MISSING"


class NotAllowed(CrownError):
    """The caller may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "NOT_ALLOWED"


class NotFound(CrownError):
    """There is no such thing, or not for this caller."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"


class Unsupported(CrownError):
    """There is no such call here."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "UNSUPPORTED"


class KeyReused(CrownError):
    """The idempotency key stands for another body."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "KEY_REUSED"


class InProgress(CrownError):
    """The same call is still being worked on."""

    code = grpc.StatusCode.ABORTED
    reason = "IN_PROGRESS"


class Stale(CrownError):
    """Somebody else changed it first."""

    code = grpc.StatusCode.ABORTED
    reason = "STALE_ETAG"


class TooLarge(CrownError):
    """The request is larger than its bound."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "PAYLOAD_TOO_LARGE"


class RateLimited(CrownError):
    """The caller is above the rate that it may call at; nothing happened."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"

    def __init__(
        self, message: str, *, retry_after_s: float = 1.0, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.headers = headers


class CapReached(CrownError):
    """A cap on spending or on the number of messages is reached."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "CAP_REACHED"


class SignatureInvalid(CrownError):
    """What claims to come from a provider is not signed by it, or is too old."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "SIGNATURE_INVALID"


class Refused(CrownError):
    """A provider refused for good."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "PROVIDER_REFUSED"


class Suppressed(Refused):
    """Nothing is sent to this address any more."""

    reason = "SUPPRESSED"


class NotReplayable(Refused):
    """The dead letter was discarded or settled, or what it says is gone."""

    reason = "NOT_REPLAYABLE"


class Unavailable(CrownError):
    """Nothing happened, and it may work later. Its message names parts of ours, and nothing that was sent."""

    safe_text = True
    code = grpc.StatusCode.UNAVAILABLE
    reason = "NOT_READY"

    def __init__(
        self, message: str, *, retry_after_s: float = 1.0, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, metadata=metadata)


class NotReady(Unavailable):
    """A part of the suite is not ready."""


class Overloaded(Unavailable):
    """More calls are under way than can be worked on; the gateway says so."""

    reason = "OVERLOADED"


class IntakeFull(Unavailable):
    """The intake stream is at its bound."""

    reason = "INTAKE_FULL"


class BusUnavailable(Unavailable):
    """The bus is away; nothing was published."""

    reason = "BUS_UNAVAILABLE"


class StoreUnavailable(Unavailable):
    """The store is away."""

    reason = "STORE_UNAVAILABLE"


class ProviderUnavailable(Unavailable):
    """A provider is away or refuses for now; nothing was sent."""

    reason = "PROVIDER_UNAVAILABLE"


class DeadlineTooShort(CrownError):
    """The caller's deadline left too little time to begin."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_TOO_SHORT"


class OutcomeUnknown(CrownError):
    """There was no time to learn whether it happened."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "OUTCOME_UNKNOWN"
