"""The one shape of an error: a google.rpc.Status whose details say why, what is wrong with which field, when
to retry and which request it was. The gateway prints the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from crown.errors import DOMAIN, CrownError, Violation
from crown.notification.v1.error_reason_pb2 import ErrorReason
from crown.notification.v1.error_reason_pb2 import error as facts

# A status travels in headers, of which clients take 8 KiB in all; what is longer would hide the error.
_MESSAGE_MOST_CHARS = 500
_VIOLATIONS_MOST_BYTES = 4_000
_REQUEST_ID_MOST_CHARS = 128


def status(error: CrownError, request_id: str = "") -> status_pb2.Status:
    """`error` as a Status with ErrorInfo, and BadRequest, RetryInfo and RequestInfo where they apply."""
    number: int = error.code.value[0]
    return status_pb2.Status(
        code=number,
        message=shortened(error.message),
        details=[_any(part) for part in _details(error, request_id)],
    )


def code(reason: str) -> int:
    """The number of the gRPC code of this reason. Raises ValueError where there is no such reason."""
    value = ErrorReason.DESCRIPTOR.values_by_name.get(f"ERROR_REASON_{reason}")
    if value is None or not value.GetOptions().HasExtension(facts):
        raise ValueError(f"{reason} is not in error_reason.proto")
    return int(value.GetOptions().Extensions[facts].code)


def refusal(reason: str, message: str, retry_after_s: int | None = None) -> status_pb2.Status:
    """What the gateway says by itself: a Status with an ErrorInfo, and a RetryInfo where it says when to come back;
    known before there is a request."""
    parts: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)]
    if retry_after_s is not None:
        parts.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_after_s)))
    return status_pb2.Status(code=code(reason), message=message, details=[_any(part) for part in parts])


def as_json(error: CrownError, request_id: str = "") -> bytes:
    """`error` as the gateway prints it, in one line."""
    return json_format.MessageToJson(
        status(error, request_id),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
    ).encode()


def shortened(message: str) -> str:
    """`message` with no more characters than a status may have."""
    return message if len(message) <= _MESSAGE_MOST_CHARS else f"{message[:_MESSAGE_MOST_CHARS]}..."


def trailers(error: CrownError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata that carries `error`."""
    found: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", status(error, request_id).SerializeToString()),
        *error.headers,
    ]
    if error.retry_after_s is not None:
        # Whole seconds, as HTTP wants them; at least one.
        found.append(("retry-after", str(max(1, math.ceil(error.retry_after_s)))))
    return tuple(found)


def _details(error: CrownError, request_id: str) -> list[Message]:
    parts: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    if error.violations:
        parts.append(_bad_request(error.violations))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        parts.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if request_id:
        parts.append(error_details_pb2.RequestInfo(request_id=request_id[:_REQUEST_ID_MOST_CHARS]))
    return parts


def _bad_request(violations: Sequence[Violation]) -> error_details_pb2.BadRequest:
    """The violations, as many as there is room for."""
    found = error_details_pb2.BadRequest()
    for v in violations:
        reason = v.rule.replace(".", "_").upper()
        found.field_violations.add(field=v.field, description=v.description, reason=reason)
        if found.ByteSize() > _VIOLATIONS_MOST_BYTES:
            del found.field_violations[-1]
            break
    return found


def _any(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
