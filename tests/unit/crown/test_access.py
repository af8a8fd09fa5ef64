"""Every RPC says who may call it, and one that says nothing is for nobody."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

import crown.notification.v1
from crown import access
from crown.auth import Principal
from crown.errors import NotAllowed
from crown.notification.v1 import access_pb2
from stack.tokens import SCOPES

USER = Principal("user", "user123", frozenset(), time.time() + 60)
OPERATOR = Principal("operator", "olga", frozenset(), time.time() + 60)
# Whoever asks whether all is well, and who signs what they say: providers, and who made an unsubscribe link.
OPEN = {"StatusService", "EmailCallbackService", "SmsCallbackService"}
EVERYTHING = Principal("service", "feed", frozenset(SCOPES), time.time() + 60)


def services() -> list[ServiceDescriptor]:
    """Every service of the contract."""
    folder = Path(crown.notification.v1.__path__[0])
    modules = [f"crown.notification.v1.{path.stem}" for path in sorted(folder.glob("*_service_pb2.py"))]
    files = [importlib.import_module(name).DESCRIPTOR for name in modules]
    return [service for file in files for service in file.services_by_name.values()]


METHODS = [method for service in services() for method in service.methods]


def test_the_contract_has_its_services() -> None:
    names = {service.name for service in services()}
    assert {"IngestService", "InboxService", "PreferenceService", "ContactService", "DeviceService"} <= names
    assert {"EmailService", "PushService", "SmsService", "RealtimeService", "StatusService"} <= names


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_every_rpc_has_a_rule(method: MethodDescriptor) -> None:
    rule = access.rule(method)
    assert rule != access_pb2.AccessRule(), f"{method.full_name} has no access rule"
    access.check(method)
    if rule.anyone:
        # Open means open: further ways in would only look like protection.
        assert rule == access_pb2.AccessRule(anyone=True)
        assert method.containing_service.name in OPEN
    if rule.scope:
        assert rule.scope in SCOPES


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_no_rpc_lets_a_user_act_for_somebody_else(method: MethodDescriptor) -> None:
    request = SimpleNamespace(**{field.name: "victim" for field in method.input_type.fields})
    with pytest.raises(NotAllowed):
        access.check(method)(USER, request)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_sending_is_not_for_users(method: MethodDescriptor) -> None:
    if method.name.startswith(("Send", "Publish")):
        rule = access.rule(method)
        assert (rule.anyone, rule.self) == (False, "")
        assert rule.scope


def made_up(rule: access_pb2.AccessRule | None) -> MethodDescriptor:
    """An RPC of a contract that there is not."""
    pool = descriptor_pool.DescriptorPool()
    for name in ("google/protobuf/descriptor.proto", "crown/notification/v1/access.proto"):
        pool.AddSerializedFile(descriptor_pool.Default().FindFileByName(name).serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="made_up.proto", package="made.up", syntax="proto3")
    file.message_type.add(name="Request").field.add(name="user_id", number=1, type=9, label=1)
    method = file.service.add(name="MadeUp").method.add(
        name="Do", input_type=".made.up.Request", output_type=".made.up.Request"
    )
    if rule is not None:
        method.options.Extensions[access_pb2.access].CopyFrom(rule)
    pool.Add(file)
    found: MethodDescriptor = pool.FindServiceByName("made.up.MadeUp").methods_by_name["Do"]
    return found


@pytest.mark.parametrize("principal", [USER, OPERATOR, EVERYTHING], ids=lambda principal: principal.use)
def test_without_a_rule_nobody_may(principal: Principal) -> None:
    method = made_up(None)
    assert not access.rule(method).anyone
    with pytest.raises(NotAllowed, match="has none"):
        access.check(method)(principal, SimpleNamespace(user_id="user123"))


def test_a_rule_about_a_field_that_is_not_there_is_found_at_the_start() -> None:
    for rule in (access_pb2.AccessRule(self="person"), access_pb2.AccessRule(token="person")):
        with pytest.raises(ValueError, match=r"made\.up\.MadeUp\.Do: the access rule names person"):
            access.check(made_up(rule))


RULES = {
    "self": access_pb2.AccessRule(self="user_id"),
    "scope": access_pb2.AccessRule(scope="inbox.read"),
    "operator": access_pb2.AccessRule(operator=True),
}


def allowed_by(rule: access_pb2.AccessRule, principal: Principal, user_id: str) -> bool:
    """The rule, said another way."""
    ways = {
        "user": bool(rule.self) and principal.subject == user_id,
        "service": bool(rule.scope) and rule.scope in principal.scopes,
        "operator": rule.operator,
    }
    return ways.get(principal.use, False)


@pytest.mark.parametrize("user_id", ["user123", "victim", ""])
@pytest.mark.parametrize(
    "principal",
    [
        USER,
        OPERATOR,
        EVERYTHING,
        Principal("service", "user123", frozenset({"inbox"}), 0),
        Principal("user", "user123", frozenset({"inbox.read"}), 0),
        Principal("operator", "user123", frozenset({"inbox.read"}), 0),
        Principal("nobody", "", frozenset({"inbox.read"}), 0),
        Principal("service", "", frozenset({""}), 0),
    ],
    ids=lambda p: f"{p.use}:{p.subject}:{'+'.join(sorted(p.scopes)) if len(p.scopes) < 3 else 'all'}",
)
@pytest.mark.parametrize(
    "ways", [(), ("self",), ("scope",), ("operator",), ("self", "scope", "operator")], ids=str
)
def test_the_rule_alone_decides(ways: tuple[str, ...], principal: Principal, user_id: str) -> None:
    rule = access_pb2.AccessRule()
    for way in ways:
        rule.MergeFrom(RULES[way])
    apply = access.check(made_up(rule))
    if allowed_by(rule, principal, user_id) and rule != access_pb2.AccessRule():
        apply(principal, SimpleNamespace(user_id=user_id))
        return
    with pytest.raises(NotAllowed) as caught:
        apply(principal, SimpleNamespace(user_id=user_id))
    assert caught.value.metadata["needs"] in caught.value.message
