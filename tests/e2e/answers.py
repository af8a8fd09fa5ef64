"""What every answer of the REST surface has to look like, whatever was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crown.errors import DOMAIN
from crown.notification.v1.error_reason_pb2 import ErrorReason

# The gRPC numbers that may stand beside an HTTP status.
CODES = {
    400: {3, 9},
    401: {16},
    403: {7},
    404: {5},
    405: {12},
    408: {4},
    409: {6, 10},
    413: {8},
    415: {3},
    426: {3},
    429: {8},
    431: {8},
    500: {13},
    503: {14},
    504: {4},
}
# What only our insides would say.
LEAK = re.compile(
    r"Traceback|File \"|\bpymongo|\bnats\.|mongodb://|redis://|site-packages|0x[0-9a-f]{8}|"
    r"(?<!/api/v1/)\bservices/|\.py\b|<class '|password="
)
_REASONS = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
_TYPES = "type.googleapis.com/google.rpc."


@dataclass(frozen=True)
class Problem:
    """An error in the one shape."""

    status: int
    code: int
    reason: str
    message: str
    violations: Mapping[str, str]  # field -> what is wrong with it
    metadata: Mapping[str, str]
    request_id: str


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, its body read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; fails on anything else."""
        assert self.headers["content-type"].startswith("application/json"), self
        return json.loads(self.body)

    @property
    def ok(self) -> Any:
        """The JSON of an answer that has to be a good one."""
        assert self.status == 200, self
        return self.json

    @property
    def problem(self) -> Problem:
        """The error that it is; fails where it is none, or is not in the one shape."""
        assert self.status not in range(200, 300), self
        body = self.json
        assert body.keys() == {"code", "message", "details"}, self
        assert isinstance(body["message"], str), self
        assert body["message"], self
        details = {detail["@type"].removeprefix(_TYPES): detail for detail in body["details"]}
        info = details["ErrorInfo"]
        assert info["reason"] in _REASONS, self
        assert info["domain"] == DOMAIN, self
        assert body["code"] in CODES[self.status], self
        return Problem(
            self.status,
            body["code"],
            info["reason"],
            body["message"],
            _violations(details.get("BadRequest", {})),
            info.get("metadata", {}),
            details.get("RequestInfo", {}).get("request_id", ""),
        )


def _violations(bad_request: Mapping[str, Any]) -> dict[str, str]:
    return {found["field"]: found["description"] for found in bad_request.get("field_violations", [])}


def inspect(reply: Reply, *, head: bool = False, faults: frozenset[int] = frozenset()) -> Reply:
    """`reply`, which must leak nothing, be no fault of ours but one of `faults`, and have the one error shape."""
    text = reply.body.decode(errors="replace") + str(dict(reply.headers))
    assert not (found := LEAK.search(text)), (found, reply)
    assert reply.status < 500 or reply.status in faults, reply
    if reply.status >= 300 and not head:
        problem = reply.problem
        if problem.reason == "INVALID_REQUEST" and problem.code == 3 and "metadata" in text:
            # Made by a service, which knows the fields; what Envoy refuses itself has no metadata.
            assert problem.violations, reply
    return reply
