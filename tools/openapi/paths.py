"""The paths of the document: what each call takes and answers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from google.api import annotations_pb2

from gateway.contract import bindings
from tools.openapi import security
from tools.openapi.calls import Call
from tools.openapi.errors import Errors
from tools.openapi.messages import Contract, Message, Schema, component
from tools.openapi.schemas import Schemas

_BODY = ".google.api.HttpBody"
_VARIABLE = re.compile(r"\{(\w+)\}")
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


class Paths:
    """Makes paths out of calls."""

    def __init__(self, contract: Contract, schemas: Schemas, errors: Errors) -> None:
        self._contract = contract
        self._schemas = schemas
        self._errors = errors

    def of(self, calls: Iterable[Call]) -> Schema:
        """Every path with its calls."""
        found: dict[str, Schema] = defaultdict(dict)
        for call in calls:
            for number, (method, path) in enumerate(bindings(call.rpc)):
                found[path][method.lower()] = self._operation(call, method, path, number)
        found["/healthz"]["get"] = _HEALTH
        return dict(sorted(found.items()))

    def _operation(self, call: Call, method: str, path: str, number: int) -> Schema:
        rpc = call.rpc
        request = self._contract.messages[rpc.input_type]
        body = rpc.options.Extensions[annotations_pb2.http].body if method not in {"GET", "DELETE"} else ""
        operation: Schema = {
            "operationId": f"{call.service}_{rpc.name}" + (f"_{number + 1}" if number else ""),
            "tags": [call.service],
            "summary": call.summary,
            "description": f"{call.about}\n\nWho may call: {security.told(call.rule)}.",
            "parameters": self._parameters(request, path, body),
            "responses": {"200": self._answer(call)} | self._errors.of(call, method),
            "security": security.requirements(call.rule),
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
                found.append(parameter(field.name, "path", schema, required=True))
            elif body not in {"*", field.name} and field.type_name != _BODY:
                needed = self._schemas.required(request, field)
                found.append(
                    parameter(field.name, "query", self._schemas.field(request, field), required=needed)
                )
        if "idempotency_key" in request.comments and body == "*":
            about = "The same as the field idempotency_key, which goes before it."
            schema = {"type": "string", "pattern": "^[!-~]{1,255}$", "description": about}
            found.append(parameter("Idempotency-Key", "header", schema, required=False))
        return found

    def _answer(self, call: Call) -> Schema:
        if call.content:
            schema: Schema = {"type": "object" if call.content == "application/json" else "string"}
            return {"description": "Done.", "content": {call.content: {"schema": schema}}}
        message = self._contract.messages[call.rpc.output_type]
        schema = {"$ref": f"#/components/schemas/{component(message.name)}"}
        return {"description": message.about, "content": {"application/json": {"schema": schema}}}


def parameter(name: str, place: str, schema: Schema, *, required: bool) -> Schema:
    """A parameter in the path, the query or a header; what `schema` says of it moves there."""
    about = schema.pop("description", "")
    found: Schema = {"name": name, "in": place, "description": about, "required": required, "schema": schema}
    return found
