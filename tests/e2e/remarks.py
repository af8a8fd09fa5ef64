"""What a gRPC error says beyond its code."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status


def details(error: grpc.aio.AioRpcError) -> dict[Any, Any]:
    """The details that travel with `error`; they repeat its code and words."""
    (raw,) = [value for name, value in error.trailing_metadata() if name == "grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    status = Status.FromString(raw)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found: dict[Any, Any] = {}
    for part in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo, RequestInfo):
            if part.Is(kind.DESCRIPTOR):
                found[kind] = kind.FromString(part.value)
    return found


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """What is wrong with which field."""
    return {found.field: found.description for found in details(error)[BadRequest].field_violations}
