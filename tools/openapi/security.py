"""Who may call, in words and as OpenAPI's security requirements, from the rules that stand beside the calls."""

from __future__ import annotations

from crown.notification.v1 import access_pb2
from tools.calls_page import PROOFS
from tools.openapi.messages import Schema

SCHEMES: Schema = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of your auth service: of a user, a service with scopes, or an operator.",
    }
}


def told(rule: access_pb2.AccessRule) -> str:
    """Who may call, as a list of words."""
    ways = [
        "anyone" if rule.anyone else "",
        PROOFS[rule.proof],
        f"the user in `{rule.self}`" if rule.self else "",
        f"a service with the scope `{rule.scope}`" if rule.scope else "",
        "an operator" if rule.operator else "",
    ]
    return ", ".join(way for way in ways if way)


def requirements(rule: access_pb2.AccessRule) -> list[Schema]:
    """Each way in, with what the token must be."""
    ways = ["user" if rule.self else "", rule.scope, "operator" if rule.operator else ""]
    return [{"bearer": [way]} for way in ways if way]
