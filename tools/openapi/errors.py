"""The answers of a call that is refused: which reasons it may give, from its comment and from what holds for all, and
their one shape."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping

from google.protobuf import descriptor_pb2

from crown import access
from crown.notification.v1 import access_pb2
from crown.notification.v1.error_reason_pb2 import ErrorRetry
from tools import errors_page
from tools.errors_page import Reason
from tools.openapi.calls import Call
from tools.openapi.messages import Schema

# What any call may answer: by the gateway, or by the door of the services. Those of tokens where one is needed, and
# of too many calls of an address where none is; those of bodies where there is one.
_ALWAYS = (
    *("INVALID_REQUEST", "UNDECODABLE", "NOT_FOUND", "UNSUPPORTED", "PAYLOAD_TOO_LARGE", "INTERNAL"),
    *("STORE_UNAVAILABLE", "NOT_READY", "OVERLOADED", "OUTCOME_UNKNOWN", "DEADLINE_TOO_SHORT"),
)
_WITH_TOKEN = ("TOKEN_MISSING", "TOKEN_INVALID", "NOT_ALLOWED")
_WITHOUT_TOKEN = ("RATE_LIMITED",)
_BODY_STATUSES = (413, 415)
# Statuses of those reasons that no call of REST has.
_ELSEWHERE = {426, 501}
_DETAIL = "type.googleapis.com/google.rpc."
_TEXT: Schema = {"type": "string"}
HEADERS: Schema = {
    "RetryAfter": {
        "description": "Seconds after which to call again.",
        "schema": {"type": "integer", "minimum": 1},
    },
}


def _told_anyway(rule: access_pb2.AccessRule) -> tuple[str, ...]:
    """The reasons of any call with this rule."""
    return (*_ALWAYS, *(_WITHOUT_TOKEN if access.is_open(rule) else _WITH_TOKEN))


def _detail(name: str, about: str, **fields: Schema) -> Schema:
    return {
        "type": "object",
        "description": about,
        "properties": {"@type": {"type": "string", "const": f"{_DETAIL}{name}"}, **fields},
        "required": ["@type", *itertools.islice(fields, 1)],
    }


SCHEMAS: dict[str, Schema] = {
    "Error": {
        "type": "object",
        "description": "Why a call was refused: a google.rpc.Status.",
        "properties": {
            "code": {
                "type": "integer",
                "minimum": 0,
                "maximum": 16,
                "description": "The number of gRPC's code; of an item that was taken, 0.",
            },
            "message": {"type": "string", "description": "What is wrong, for people."},
            "details": {
                "type": "array",
                "items": {
                    "anyOf": [
                        {"$ref": f"#/components/schemas/{name}"}
                        for name in ("ErrorInfo", "BadRequest", "RetryInfo", "RequestInfo")
                    ]
                },
            },
        },
        "required": ["code", "message", "details"],
    },
    "ErrorInfo": _detail(
        "ErrorInfo",
        "The reason, for programs.",
        reason={"type": "string", "pattern": "^[A-Z][A-Z_]+$"},
        domain={"type": "string", "const": "crown.notification.v1"},
        metadata={"type": "object", "additionalProperties": _TEXT},
    ),
    "BadRequest": _detail(
        "BadRequest",
        "What is wrong with which field.",
        field_violations={
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": _TEXT, "description": _TEXT, "reason": _TEXT},
                "required": ["field", "description", "reason"],
            },
        },
    ),
    "RetryInfo": _detail(
        "RetryInfo",
        "When to call again.",
        retry_delay={"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?s$"},
    ),
    # Without an id where what came was no request, and nobody has given it one.
    "RequestInfo": _detail(
        "RequestInfo", "The request, as logs name it.", request_id=_TEXT, serving_data=_TEXT
    )
    | {"required": ["@type"]},
}


class Errors:
    """The reasons of the contract, and which of them a call may give."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet, calls: Iterable[Call]) -> None:
        self._reasons = {one.name: one for one in errors_page.reasons(files)}
        self._calls = {call.rpc.name: call for call in calls}

    def of(self, call: Call, method: str) -> Schema:
        """The answers of `call` by this method of HTTP, by status."""
        answers: Schema = {}
        told = self._told(call)
        for status in sorted({status for name in told for status in self._statuses(name)}):
            if status in _ELSEWHERE or (status in _BODY_STATUSES and method in {"GET", "DELETE"}):
                continue
            # What a call says of a reason is about its usual status.
            mine = {
                name: why if status == self._statuses(name)[0] else ""
                for name, why in told.items()
                if status in self._statuses(name)
            }
            if any(mine.values()):
                answers[str(status)] = self._response(mine, html=call.content == "text/html")
            else:
                answers[str(status)] = {"$ref": f"#/components/responses/{_response_name(status, call.rule)}"}
        return answers

    def _statuses(self, name: str) -> list[int]:
        return list(self._reasons[name].facts.http_statuses)

    def _told(self, call: Call) -> dict[str, str]:
        """The reasons that a call may give, each with what its comment says of it."""
        found = dict.fromkeys(_told_anyway(call.rule), "")
        return found | call.errors(self._reasons, self._calls)

    def responses(self) -> Schema:
        """The answers that are the same wherever they are given."""
        found: Schema = {}
        for anyone in (False, True):
            rule = access_pb2.AccessRule(anyone=anyone)
            names = _told_anyway(rule)
            for status in sorted({status for name in names for status in self._statuses(name)} - _ELSEWHERE):
                mine = {name: "" for name in names if status in self._statuses(name)}
                found[_response_name(status, rule)] = self._response(mine)
        return found

    def examples(self) -> Schema:
        """An error of each reason."""
        return {name: {"value": _example(one)} for name, one in sorted(self._reasons.items())}

    def _response(self, mine: Mapping[str, str], *, html: bool = False) -> Schema:
        lines = [f"- `{name}`: {why or self._reasons[name].about}" for name, why in sorted(mine.items())]
        examples = {name: {"$ref": f"#/components/examples/{name}"} for name in sorted(mine)}
        content: Schema = {
            "application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "examples": examples}
        }
        if html:
            content["text/html"] = {"schema": {"type": "string"}}
        response: Schema = {"description": "\n".join(lines), "content": content}
        if any(self._reasons[name].facts.retry == ErrorRetry.ERROR_RETRY_LATER for name in mine):
            response["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
        return response


def _example(reason: Reason) -> Schema:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", **json.loads(reason.example)}
    request = {
        "@type": "type.googleapis.com/google.rpc.RequestInfo",
        "request_id": "4f0e…",
        "serving_data": "",
    }
    return {"code": reason.facts.code, "message": reason.about, "details": [info, request]}


def _response_name(status: int, rule: access_pb2.AccessRule) -> str:
    return f"Refused{status}" + ("Open" if access.is_open(rule) else "")
