"""The OpenAPI document as a whole, and as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml
from google.protobuf import descriptor_pb2

from crown import __version__
from tools.openapi import calls, errors, security, webhook
from tools.openapi.calls import Call
from tools.openapi.messages import Contract, Schema
from tools.openapi.paths import Paths
from tools.openapi.schemas import Schemas

_ABOUT = """\
Notifications on every channel: accepted once, delivered for sure, and told live. This is the REST surface; the same
calls are there by gRPC and gRPC-Web. Sockets speak Phoenix Channels at `/socket/websocket` and are not in here.

Names of enums are read in any case, and fields in camelCase too; fields that the contract does not know are ignored.
All errors have one shape, and `reason` tells a program what to do about each.
"""


def document(files: descriptor_pb2.FileDescriptorSet) -> Schema:
    """The whole document."""
    found = list(calls.read(files))
    contract = Contract(files)
    asked = contract.reachable(call.rpc.input_type for call in found)
    answered = contract.reachable(call.rpc.output_type for call in found) - asked
    schemas, refusals = Schemas(contract, answered), errors.Errors(files, found)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Crown Notification Service",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(found),
        "paths": Paths(contract, schemas, refusals).of(found),
        "webhooks": {"delivery": {"post": webhook.WEBHOOK}},
        "components": {
            "schemas": _named(contract, schemas, found, answered)
            | errors.SCHEMAS
            | {"WebhookEvent": webhook.EVENT},
            "responses": refusals.responses(),
            "examples": refusals.examples(),
            "headers": errors.HEADERS,
            "securitySchemes": security.SCHEMES,
        },
    }


def _tags(found: Iterable[Call]) -> list[Schema]:
    """The services, which group the calls."""
    told = {call.service: call.service_about for call in found}
    return [{"name": name, "description": about} for name, about in told.items()]


def _named(contract: Contract, schemas: Schemas, found: Iterable[Call], answered: set[str]) -> Schema:
    """All messages that are answered, or asked within others; those that are asked as a whole stand at their call."""
    outer = {call.rpc.input_type for call in found}
    inner = {
        field.type_name for name in contract.reachable(outer) for field in contract.messages[name].proto.field
    }
    return schemas.components(contract.reachable(inner) | answered, outer)


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
