"""Who may call an RPC, by the rule that stands beside it in the proto. The rule is applied to the decoded
message: a path, or a query parameter that overrides it, decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from crown.auth import Principal
from crown.errors import NotAllowed
from crown.notification.v1 import access_pb2

# Raises NotAllowed unless this principal may send this message.
Check = Callable[[Principal, Any], None]


def rule(method: MethodDescriptor) -> access_pb2.AccessRule:
    """The rule of `method`; an RPC without one has an empty rule, which refuses everybody."""
    found: access_pb2.AccessRule = method.GetOptions().Extensions[access_pb2.access]
    return found


def check(method: MethodDescriptor) -> Check:
    """The rule of `method` as a function. Raises ValueError where it names a field that is not there."""
    allowed = rule(method)
    for name in (allowed.self, allowed.token):
        if name and name not in method.input_type.fields_by_name:
            raise ValueError(f"{method.full_name}: the access rule names {name}, which the request lacks")
    needs = _needs(allowed)

    def apply(principal: Principal, request: Any) -> None:
        if principal.use == "service" and allowed.scope and allowed.scope in principal.scopes:
            return
        if principal.use == "user" and allowed.self and getattr(request, allowed.self) == principal.subject:
            return
        if principal.use == "operator" and allowed.operator:
            return
        raise NotAllowed(f"this call needs {needs}", metadata={"needs": needs})

    return apply


def _needs(allowed: access_pb2.AccessRule) -> str:
    ways = [
        f"the scope {allowed.scope}" if allowed.scope else "",
        f"a token of the user in {allowed.self}" if allowed.self else "",
        "an operator" if allowed.operator else "",
    ]
    return " or ".join(way for way in ways if way) or "a rule, and has none"
