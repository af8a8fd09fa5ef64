"""The OpenAPI document is what the protos give, a good one, and says what the gateway does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import contract
from tools.calls_page import ROOT, compiled
from tools.openapi.__main__ import WEB
from tools.openapi.document import document, written

TEXT = (WEB / "openapi.yaml").read_text()
DOCUMENT: dict[str, Any] = yaml.load(TEXT, yaml.CSafeLoader)


def operation(name: str) -> dict[str, Any]:
    """The call of this RPC."""
    (found,) = (
        one for path in DOCUMENT["paths"].values() for one in path.values() if one["operationId"] == name
    )
    return dict(found)


def body(name: str) -> dict[str, Any]:
    """What a call takes."""
    return dict(operation(name)["requestBody"]["content"]["application/json"]["schema"])


def test_it_is_up_to_date() -> None:
    assert written(document(compiled())) == TEXT


def test_it_is_where_readers_look() -> None:
    assert (ROOT / "docs" / "openapi.yaml").resolve() == WEB / "openapi.yaml"


def test_it_is_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_it_has_every_path_of_the_gateway() -> None:
    files = contract.load(ROOT / "gateway" / "crown.binpb")
    there = {
        (path, verb.lower())
        for _, service in contract.services(files)
        for rpc in service.method
        for verb, path in contract.bindings(rpc)
    }
    found = {(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs}
    assert found == there | {("/healthz", "get")}


def test_bounds_are_those_of_the_protos() -> None:
    send = body("IngestService_SendNotification")
    assert send["required"] == ["data"]
    assert send["properties"]["user_ids"]["maxItems"] == 10_000
    # Empty is as good as absent.
    assert send["properties"]["kind"]["pattern"].startswith("^$|")
    assert "CHANNEL_UNSPECIFIED" not in send["properties"]["channels"]["items"]["enum"]
    (limit,) = (
        one for one in operation("InboxService_ListNotifications")["parameters"] if one["name"] == "limit"
    )
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 100)


def test_what_is_in_the_path_is_not_in_the_body() -> None:
    assert "user_id" not in body("InboxService_MarkRead")["properties"]
    assert "notification_id" not in body("InboxService_MarkRead")["properties"]
    assert "notification_id" in body("InboxService_MarkRead_2")["properties"]


def test_errors_are_those_of_the_comment() -> None:
    answers = operation("IngestService_SendNotification")["responses"]
    assert "KEY_REUSED" in answers["409"]["description"]
    assert "INTAKE_FULL" in answers["503"]["description"]
    # As for SendNotification.
    bulk = operation("IngestService_SendBulkNotifications")["responses"]
    assert "RATE_LIMITED" in bulk["429"]["description"]
    assert "409" not in bulk


def test_who_may_call_is_the_rule_of_the_proto() -> None:
    assert operation("InboxService_GetUnreadCount")["security"] == [
        {"bearer": ["user"]},
        {"bearer": ["inbox.read"]},
        {"bearer": ["operator"]},
    ]
    assert operation("StatusService_GetReadiness")["security"] == []
    assert "401" not in operation("StatusService_GetReadiness")["responses"]


@pytest.mark.parametrize("name", ["ListNotificationsResponse", "Error"])
def test_what_is_always_printed_is_required(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert set(schema["required"]) <= set(schema["properties"])
    assert schema["required"]
