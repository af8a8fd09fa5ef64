"""The one shape of an error, and that it fits into headers."""

from __future__ import annotations

import inspect
import json
import math
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from crown import errors, problem
from crown.errors import CrownError, InvalidRequest, Unavailable, Violation
from crown.notification.v1.error_reason_pb2 import ErrorReason

# What gRPC's clients take without complaint, in all of the trailers.
HEADERS_MOST_BYTES = 8_192

CODES = {
    errors.InvalidRequest: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    errors.Undecodable: (grpc.StatusCode.INVALID_ARGUMENT, "UNDECODABLE"),
    errors.Unauthenticated: (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"),
    errors.TokenMissing: (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
    errors.NotAllowed: (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"),
    errors.NotFound: (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    errors.Unsupported: (grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED"),
    errors.KeyReused: (grpc.StatusCode.ALREADY_EXISTS, "KEY_REUSED"),
    errors.InProgress: (grpc.StatusCode.ABORTED, "IN_PROGRESS"),
    errors.Stale: (grpc.StatusCode.ABORTED, "STALE_ETAG"),
    errors.TooLarge: (grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE"),
    errors.RateLimited: (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
    errors.CapReached: (grpc.StatusCode.RESOURCE_EXHAUSTED, "CAP_REACHED"),
    errors.SignatureInvalid: (grpc.StatusCode.PERMISSION_DENIED, "SIGNATURE_INVALID"),
    errors.Suppressed: (grpc.StatusCode.FAILED_PRECONDITION, "SUPPRESSED"),
    errors.NotReplayable: (grpc.StatusCode.FAILED_PRECONDITION, "NOT_REPLAYABLE"),
    errors.Refused: (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_REFUSED"),
    errors.NotReady: (grpc.StatusCode.UNAVAILABLE, "NOT_READY"),
    errors.Overloaded: (grpc.StatusCode.UNAVAILABLE, "OVERLOADED"),
    errors.IntakeFull: (grpc.StatusCode.UNAVAILABLE, "INTAKE_FULL"),
    errors.BusUnavailable: (grpc.StatusCode.UNAVAILABLE, "BUS_UNAVAILABLE"),
    errors.StoreUnavailable: (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
    errors.ProviderUnavailable: (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
    errors.DeadlineTooShort: (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT"),
    errors.OutcomeUnknown: (grpc.StatusCode.DEADLINE_EXCEEDED, "OUTCOME_UNKNOWN"),
    errors.CrownError: (grpc.StatusCode.INTERNAL, "INTERNAL"),
}


def details(status: status_pb2.Status, kind: Any) -> Any:
    """The one detail of this kind; fails where there is none."""
    (found,) = [part for part in status.details if part.Is(kind.DESCRIPTOR)]
    unpacked = kind()
    found.Unpack(unpacked)
    return unpacked


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_every_error_has_its_code_and_reason(kind: type[CrownError]) -> None:
    status = problem.status(kind("what it is"), "r-1")
    code, reason = CODES[kind]
    assert (status.code, status.message) == (code.value[0], "what it is")
    info = details(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "crown.notification.v1")
    assert details(status, error_details_pb2.RequestInfo).request_id == "r-1"


def test_no_error_is_missing_above() -> None:
    found = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CrownError)}
    assert found == {*CODES, Unavailable}


def test_every_reason_of_the_contract_has_its_error_and_no_other_is_told() -> None:
    reasons = {f"ERROR_REASON_{reason}" for _, reason in CODES.values()}
    old = {value.name for value in ErrorReason.DESCRIPTOR.values if value.GetOptions().deprecated}
    assert {*reasons, *old, "ERROR_REASON_UNSPECIFIED"} == set(ErrorReason.keys())


def test_a_violation_names_field_rule_and_what_is_allowed() -> None:
    error = InvalidRequest.of(
        [Violation("data.title", "must be short", "string.max_len"), Violation("", "is bad")]
    )
    status = problem.status(error)
    assert status.message == "data.title: must be short; is bad"
    first, second = details(status, error_details_pb2.BadRequest).field_violations
    assert (first.field, first.description, first.reason) == ("data.title", "must be short", "STRING_MAX_LEN")
    assert (second.field, second.description, second.reason) == ("", "is bad", "")


@pytest.mark.parametrize(
    ("count", "told"),
    [(1, ""), (5, ""), (6, "; and 1 more"), (99, "; and 94 more"), (100, "; and many more")],
)
def test_the_message_tells_five_violations(count: int, told: str) -> None:
    error = InvalidRequest.of([Violation(f"f{n}", "x") for n in range(count)])
    assert error.message == "; ".join(f"f{n}: x" for n in range(min(count, 5))) + told
    assert len(error.violations) == count


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.001, "2"), (59.5, "60"), (3600.0, "3600")]
)
def test_the_retry_header_is_in_whole_seconds(seconds: float, header: str) -> None:
    found = dict(problem.trailers(Unavailable("later", retry_after_s=seconds), "r"))
    assert found["retry-after"] == header
    status = status_pb2.Status.FromString(found["grpc-status-details-bin"])
    assert details(status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == int(seconds * 1000)


def test_where_retrying_does_not_help_there_is_no_header() -> None:
    assert [name for name, _ in problem.trailers(errors.NotFound("none"), "r")] == ["grpc-status-details-bin"]


@pytest.mark.parametrize(
    ("violations", "request_id"),
    [
        pytest.param(
            [Violation(f"user_ids[{n}]", "must be good " * 5, "r") for n in range(10_000)], "r", id="many"
        ),
        pytest.param([Violation("x" * 100_000, "must be good")], "r", id="a long field"),
        pytest.param([Violation("field", "é" * 100_000)], "r", id="a long description"),
        pytest.param([Violation("field", "x")], "i" * 7_000, id="a long request id"),
    ],
)
def test_an_error_fits_into_headers(violations: list[Violation], request_id: str) -> None:
    error = InvalidRequest.of(violations)
    (found,) = problem.trailers(error, request_id)
    message = problem.shortened(error.message)
    percent_encoded = sum(1 if char.isascii() else 3 * len(char.encode()) for char in message)
    assert math.ceil(len(found[1]) / 3) * 4 + percent_encoded < HEADERS_MOST_BYTES


def test_as_json_it_is_what_the_gateway_prints() -> None:
    error = InvalidRequest.of([Violation("a", "is\nbad", "a.b")])
    text = problem.as_json(error, "r1")
    assert b"\n" not in text
    assert json.loads(text) == {
        "code": 3,
        "message": "a: is\nbad",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "INVALID_REQUEST",
                "domain": "crown.notification.v1",
                "metadata": {},
            },
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "field_violations": [{"field": "a", "description": "is\nbad", "reason": "A_B"}],
            },
            {"@type": "type.googleapis.com/google.rpc.RequestInfo", "request_id": "r1", "serving_data": ""},
        ],
    }
