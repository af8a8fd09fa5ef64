"""Who may call an RPC and who may join a topic, by the rules that stand in the protos. A rule of an RPC is applied to
the decoded message: a path, or a query parameter that overrides it, decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from crown.auth import Principal
from crown.errors import NotAllowed
from crown.notification.v1 import access_pb2

# Raises NotAllowed unless this principal may send this message.
Check = Callable[[Principal, Any], None]


def rule(method: MethodDescriptor) -> access_pb2.AccessRule:
    """The rule of `method`; an RPC without one has an empty rule, which refuses everybody."""
    found: access_pb2.AccessRule = method.GetOptions().Extensions[access_pb2.access]
    return found


def is_open(allowed: access_pb2.AccessRule) -> bool:
    """Whether no token is asked for: the RPC is for anyone, or goes by a proof that its service checks."""
    return allowed.anyone or allowed.proof != access_pb2.PROOF_UNSPECIFIED


def check(method: MethodDescriptor) -> Check:
    """The rule of `method` as a function. Raises ValueError where it names a field that is not there."""
    allowed = rule(method)
    for name in (allowed.self, allowed.token):
        if name and name not in method.input_type.fields_by_name:
            raise ValueError(f"{method.full_name}: the access rule names {name}, which the request lacks")
    needs = _needs(allowed)

    def apply(principal: Principal, request: Any) -> None:
        if principal.use == "service" and allowed.scope and _has(principal, allowed):
            return
        if principal.use == "user" and allowed.self and getattr(request, allowed.self) == principal.subject:
            return
        if principal.use == "operator" and allowed.operator:
            return
        raise NotAllowed(f"this call needs {needs}", metadata={"needs": needs})

    return apply


def categories(principal: Principal, scope: str) -> frozenset[str] | None:
    """The categories that a service has `scope` for, in small letters: those of its scopes `<scope>:<category>`. None
    where it has the whole scope, and so every category."""
    if scope in principal.scopes:
        return None
    start = f"{scope}:"
    return frozenset(one.removeprefix(start) for one in principal.scopes if one.startswith(start))


def _has(principal: Principal, allowed: access_pb2.AccessRule) -> bool:
    if allowed.not_narrowed and categories(principal, allowed.not_narrowed):
        return False
    if allowed.scope in principal.scopes:
        return True
    return allowed.by_category and bool(categories(principal, allowed.scope))


def _needs(allowed: access_pb2.AccessRule) -> str:
    narrowed = f", and {allowed.not_narrowed} for all categories or none" if allowed.not_narrowed else ""
    ways = [
        f"the scope {allowed.scope}{narrowed}" if allowed.scope else "",
        f"a token of the user in {allowed.self}" if allowed.self else "",
        "an operator" if allowed.operator else "",
    ]
    return " or ".join(way for way in ways if way) or "a rule, and has none"


# -- topics


def topic_rules(service: ServiceDescriptor) -> Mapping[str, access_pb2.TopicRule]:
    """The rules of the topics of `service`, by what stands before the colon."""
    return {
        kind: found for found in service.GetOptions().Extensions[access_pb2.topics] for kind in found.kinds
    }


def check_topic(allowed: access_pb2.TopicRule, principal: Principal, name: str) -> bool:
    """Whether it is left to ask for membership: True where `principal` may join the topic of `name`, what stands
    behind the colon, as a member of the group only. False where they may join. Raises NotAllowed."""
    if not allowed.name or name == allowed.name:
        if principal.use == "user" and allowed.self and name == principal.subject:
            return False
        if principal.use == "operator" and allowed.operator:
            return False
        if principal.use == "user" and allowed.member:
            return True
    whom = topic_is_for(allowed)
    raise NotAllowed(f"this topic is for {whom}", metadata={"needs": whom})


def topic_is_for(allowed: access_pb2.TopicRule) -> str:
    """Who may join, in words."""
    ways = [
        "the user that it names" if allowed.self else "",
        "members of the group" if allowed.member else "",
        "operators" if allowed.operator else "",
    ]
    return " or ".join(way for way in ways if way) or "nobody"
