"""Writes the OpenAPI document of the REST surface, from the protos: paths, schemas with their bounds, who may call,
and which errors. The gateway serves it, and docs/openapi.yaml leads to it. With --check it compares instead."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.rpc.code_pb2 import Code

from crown import __version__, access
from crown.notification.v1 import access_pb2
from crown.notification.v1.error_reason_pb2 import ErrorRetry
from gateway import contract
from tools import errors_page
from tools.calls_page import PROOFS, ROOT, compiled
from tools.errors_page import Reason
from tools.made import keep
from tools.openapi_schemas import Contract, Message, Schema, Schemas, component, text_of

DOCUMENT = ROOT / "gateway" / "web" / "openapi.yaml"
# Field numbers in descriptor.proto: a file's services, and a service's methods.
_SERVICE, _METHOD = 6, 2
_BODY = ".google.api.HttpBody"
_VARIABLE = re.compile(r"\{(\w+)\}")
# What a call answers that is no JSON of the contract's messages.
_CONTENT = {
    "ShowUnsubscribe": "text/html",
    "Unsubscribe": "text/html",
    "Stream": "text/event-stream",
    "ExportPerson": "application/json",
    "ReceiveSendGridEvents": "text/plain",
    "ReceiveTwilioStatus": "text/plain",
    "ReceiveTwilioInbound": "text/xml",
    "ReceiveSns": "text/plain",
}
# What any call may answer: by the gateway, or by the door of the services. Those of tokens where one is needed, those
# of bodies where there is one.
_ALWAYS = (
    *("INVALID_REQUEST", "UNDECODABLE", "NOT_FOUND", "UNSUPPORTED", "PAYLOAD_TOO_LARGE", "INTERNAL"),
    *("STORE_UNAVAILABLE", "NOT_READY", "OVERLOADED", "OUTCOME_UNKNOWN", "DEADLINE_TOO_SHORT"),
)
_WITH_TOKEN = ("TOKEN_MISSING", "TOKEN_INVALID", "NOT_ALLOWED")
_BODY_STATUSES = (413, 415)
# Statuses of those reasons that no call of REST has.
_ELSEWHERE = {426, 501}

_ABOUT = """\
Notifications on every channel: accepted once, delivered for sure, and told live. This is the REST surface; the same
calls are there by gRPC and gRPC-Web. Sockets speak Phoenix Channels at `/socket/websocket` and are not in here.

Names of enums are read in any case, and fields in camelCase too; fields that the contract does not know are ignored.
All errors have one shape, and `reason` tells a program what to do about each.
"""
_EXAMPLES: Mapping[str, Any] = {
    "SendNotification": {
        "type": "in_app",
        "user_id": "user123",
        "data": {"title": "Hello", "message": "It works."},
    },
    "SendBulkNotifications": {
        "notifications": [
            {"type": "push", "user_ids": ["user1", "user2"], "data": {"title": "System Update"}},
            {"type": "in_app", "user_id": "user123", "data": {"title": "Your export is ready"}},
        ]
    },
    "SendEmail": {
        "user_id": "user123",
        "to": "user123@example.com",
        "idempotency_key": "export-4711",
        "data": {"title": "Your export is ready", "message": "It is kept for a week."},
    },
}


def document(files: descriptor_pb2.FileDescriptorSet) -> Schema:
    """The whole document."""
    made = _Document(files)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Crown Notification Service",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": made.tags(),
        "paths": made.paths(),
        "webhooks": {"delivery": {"post": _WEBHOOK}},
        "components": {
            "schemas": made.schemas() | _ERRORS | {"WebhookEvent": _EVENT},
            "responses": made.responses(),
            "examples": made.examples(),
            "headers": {
                "RetryAfter": {
                    "description": "Seconds after which to call again.",
                    "schema": {"type": "integer", "minimum": 1},
                },
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token of your auth service: of a user, a service with scopes, or an operator.",
                }
            },
        },
    }


class _Document:
    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        self._files = files
        self._contract = Contract(files)
        self._reasons = {one.name: one for one in errors_page.reasons(files)}
        self._calls = [call for call in self._read() if any(contract.bindings(call.rpc))]
        asked = self._contract.reachable(call.rpc.input_type for call in self._calls)
        self._answered = self._contract.reachable(call.rpc.output_type for call in self._calls) - asked
        self._schemas = Schemas(self._contract, self._answered)

    def _read(self) -> Iterator[_Call]:
        for file in self._files.file:
            comments = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
            for place, service in enumerate(file.service):
                if service.name != "FilterService":  # others implement it
                    about = text_of(comments[_SERVICE, place])
                    for number, rpc in enumerate(service.method):
                        comment = comments[_SERVICE, place, _METHOD, number]
                        yield _Call(service.name, about, rpc, comment)

    def tags(self) -> list[Schema]:
        """The services, which group the calls."""
        told = {call.service: call.service_about for call in self._calls}
        return [{"name": name, "description": about} for name, about in told.items()]

    def paths(self) -> Schema:
        """Every path with its calls."""
        found: dict[str, Schema] = defaultdict(dict)
        for call in self._calls:
            for number, (method, path) in enumerate(contract.bindings(call.rpc)):
                found[path][method.lower()] = self._operation(call, method, path, number)
        found["/healthz"]["get"] = _HEALTH
        return dict(sorted(found.items()))

    def schemas(self) -> Schema:
        """All messages that are asked or answered as a whole or within others."""
        outer = {call.rpc.input_type for call in self._calls}
        inner = {
            field.type_name
            for name in self._contract.reachable(iter(outer))
            for field in self._contract.messages[name].proto.field
        }
        asked = self._contract.reachable(iter(inner))
        return self._schemas.components(asked | self._answered, outer)

    def _operation(self, call: _Call, method: str, path: str, number: int) -> Schema:
        rpc = call.rpc
        request = self._contract.messages[rpc.input_type]
        body = rpc.options.Extensions[annotations_pb2.http].body if method not in {"GET", "DELETE"} else ""
        operation: Schema = {
            "operationId": f"{call.service}_{rpc.name}" + (f"_{number + 1}" if number else ""),
            "tags": [call.service],
            "summary": call.summary,
            "description": f"{call.about}\n\nWho may call: {_who(call.rule)}.",
            "parameters": self._parameters(request, path, body),
            "responses": self._answers(call, method),
            "security": _security(call.rule),
        }
        if body == "*":
            schema = self._schemas.message(request, frozenset(_VARIABLE.findall(path)))
            content: Schema = {"schema": schema}
            if rpc.name in _EXAMPLES:
                content["example"] = _EXAMPLES[rpc.name]
            operation["requestBody"] = {
                "required": bool(schema.get("required")),
                "content": {"application/json": content},
            }
        elif body:
            operation["requestBody"] = {
                "description": request.comments[body],
                "content": {"*/*": {"schema": {}}},
            }
        return operation

    def _parameters(self, request: Message, path: str, body: str) -> list[Schema]:
        in_path = _VARIABLE.findall(path)
        found = []
        for field in request.proto.field:
            if field.name in in_path:
                schema = self._schemas.field(request, field)
                # A path without it would be another.
                schema["pattern"] = schema.get("pattern", "^[^/]+$").removeprefix("^$|")
                found.append(_parameter(field.name, "path", schema, required=True))
            elif body not in {"*", field.name} and field.type_name != _BODY:
                needed = self._schemas.required(request, field)
                found.append(
                    _parameter(field.name, "query", self._schemas.field(request, field), required=needed)
                )
        if "idempotency_key" in request.comments and body == "*":
            about = "The same as the field idempotency_key, which goes before it."
            schema = {"type": "string", "pattern": "^[!-~]{1,255}$", "description": about}
            found.append(_parameter("Idempotency-Key", "header", schema, required=False))
        return found

    # -- answers

    def _answers(self, call: _Call, method: str) -> Schema:
        answers: Schema = {"200": self._answer(call.rpc)}
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
                answers[str(status)] = self._response(mine, html=call.rpc.name in _PAGES)
            else:
                answers[str(status)] = {"$ref": f"#/components/responses/{_response_name(status, call.rule)}"}
        return answers

    def _statuses(self, name: str) -> list[int]:
        return list(self._reasons[name].facts.http_statuses)

    def _told(self, call: _Call) -> dict[str, str]:
        """The reasons that a call may give, each with what its comment says of it."""
        found = dict.fromkeys((*_ALWAYS, *(() if access.is_open(call.rule) else _WITH_TOKEN)), "")
        return found | call.errors(self._reasons, {one.rpc.name: one for one in self._calls})

    def responses(self) -> Schema:
        """The answers that are the same wherever they are given."""
        found: Schema = {}
        for anyone in (False, True):
            rule = access_pb2.AccessRule(anyone=anyone)
            names = (*_ALWAYS, *(() if anyone else _WITH_TOKEN))
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

    def _answer(self, rpc: descriptor_pb2.MethodDescriptorProto) -> Schema:
        if rpc.name in _CONTENT:
            kind = _CONTENT[rpc.name]
            schema: Schema = {"type": "object"} if kind == "application/json" else {"type": "string"}
            return {"description": "Done.", "content": {kind: {"schema": schema}}}
        message = self._contract.messages[rpc.output_type]
        schema = {"$ref": f"#/components/schemas/{component(rpc.output_type)}"}
        return {"description": message.about, "content": {"application/json": {"schema": schema}}}


class _Call:
    """An RPC with what its comment says."""

    def __init__(
        self, service: str, service_about: str, rpc: descriptor_pb2.MethodDescriptorProto, comment: str
    ) -> None:
        self.service = service
        self.service_about = service_about
        self.rpc = rpc
        self.rule: access_pb2.AccessRule = rpc.options.Extensions[access_pb2.access]
        about, _, self._errors = comment.partition("Errors")
        self.about = text_of(about)

    @property
    def summary(self) -> str:
        """The first sentence, without its stop."""
        return re.split(r"(?<=[.:;]) (?=[A-Z-])", self.about, maxsplit=1)[0].rstrip(".:;")

    def errors(self, known: Mapping[str, Reason], calls: Mapping[str, _Call]) -> dict[str, str]:
        """The reasons in the paragraph `Errors:`, each with why. A code stands for the reason of the same name."""
        found: dict[str, str] = {}
        for line in re.split(r"^ *- ", self._errors, flags=re.MULTILINE)[1:]:
            head, _, why = text_of(line).partition(":")
            if other := re.search(r"as for (\w+)", head):
                theirs = calls[other[1]].errors(known, calls).items()
                found |= {name: why for name, why in theirs if Code.Name(known[name].facts.code) in head}
            for name in re.findall(r"[A-Z][A-Z_]{4,}", head):
                if name in known:
                    found[name] = why.strip()
        return found


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


def _parameter(name: str, place: str, schema: Schema, *, required: bool) -> Schema:
    about = schema.pop("description", "")
    found: Schema = {"name": name, "in": place, "description": about, "required": required, "schema": schema}
    return found


def _who(rule: access_pb2.AccessRule) -> str:
    ways = [
        "anyone" if rule.anyone else "",
        PROOFS[rule.proof],
        f"the user in `{rule.self}`" if rule.self else "",
        f"a service with the scope `{rule.scope}`" if rule.scope else "",
        "an operator" if rule.operator else "",
    ]
    return ", ".join(way for way in ways if way)


def _security(rule: access_pb2.AccessRule) -> list[Schema]:
    """Each way in, with what the token must be."""
    ways = ["user" if rule.self else "", rule.scope, "operator" if rule.operator else ""]
    return [{"bearer": [way]} for way in ways if way]


_PAGES = frozenset({"ShowUnsubscribe", "Unsubscribe"})
_HEALTH: Schema = {
    "operationId": "Gateway_GetHealth",
    "tags": ["StatusService"],
    "summary": "Says that the gateway answers",
    "parameters": [],
    "responses": {
        "200": {
            "description": "It does.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"status": {"type": "string", "enum": ["ok"]}},
                        "required": ["status"],
                    }
                }
            },
        },
        "405": {"$ref": "#/components/responses/Refused405Open"},
    },
    "security": [],
}
_DETAIL = "type.googleapis.com/google.rpc."
_TEXT: Schema = {"type": "string"}


def _detail(name: str, about: str, **fields: Schema) -> Schema:
    return {
        "type": "object",
        "description": about,
        "properties": {"@type": {"type": "string", "const": f"{_DETAIL}{name}"}, **fields},
        "required": ["@type", *itertools.islice(fields, 1)],
    }


_ERRORS: dict[str, Schema] = {
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
_EVENT: Schema = {
    "type": "object",
    "description": "What became of a delivery. Never content, never an address. New fields may come.",
    "properties": {
        "type": {
            "type": "string",
            "pattern": "^notification[.]delivery[.][a-z_]+$",
            "description": "Ends in the state, in small letters.",
        },
        "timestamp": {"type": "string", "format": "date-time"},
        "data": {
            "type": "object",
            "properties": {
                "notification_id": _TEXT,
                "delivery_id": _TEXT,
                "user_id": _TEXT,
                "channel": {"$ref": "#/components/schemas/Channel"},
                "state": {"$ref": "#/components/schemas/DeliveryState"},
                "reason": _TEXT,
                "provider": _TEXT,
                "occur_time": {"type": "string", "format": "date-time"},
            },
            "required": ["notification_id", "delivery_id", "user_id", "channel", "state", "occur_time"],
        },
    },
    "required": ["type", "timestamp", "data"],
}
_WEBHOOK: Schema = {
    "operationId": "webhook_delivery",
    "summary": "What became of a delivery, told to the `webhook_url` of its notification",
    "description": "Signed by Standard Webhooks. It may come twice, and out of order.",
    "parameters": [
        _parameter(name, "header", {"type": "string", "description": about}, required=True)
        for name, about in (
            ("webhook-id", "The same when it comes again."),
            ("webhook-timestamp", "Seconds since 1970, when it was sent."),
            ("webhook-signature", "`v1,` and the signature in base64."),
        )
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/WebhookEvent"}}},
    },
    "responses": {"2XX": {"description": "Taken. Anything else is tried again."}},
    "security": [],
}


class _Dumper(yaml.SafeDumper):
    """Says everything in full, and texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _text)


def written(found: Schema) -> str:
    """The document as text."""
    head = "# Made from the protos by `python -m tools.openapi`.\n"
    return head + yaml.dump(found, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def main(arguments: list[str]) -> int:
    """Writes the document, or compares it."""
    return keep({DOCUMENT: written(document(compiled()))}, "protos/", "tools.openapi", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
