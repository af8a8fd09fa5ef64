"""Every RPC says who may call it, and one that says nothing is for nobody."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from hypothesis import given
from hypothesis import strategies as st

import crown.notification.v1
from crown import access
from crown.auth import Principal
from crown.errors import NotAllowed
from crown.notification.v1 import access_pb2
from stack.tokens import SCOPES

USER = Principal("user", "user123", frozenset(), time.time() + 60)
OPERATOR = Principal("operator", "olga", frozenset(), time.time() + 60)
# Who needs no token: whoever asks whether all is well, and who proves what they say in another way.
ANYONE = {"StatusService"}
PROVEN = {
    "ReceiveSendGridEvents": access_pb2.PROOF_PROVIDER_SIGNATURE,
    "ShowUnsubscribe": access_pb2.PROOF_SIGNED_LINK,
    "Unsubscribe": access_pb2.PROOF_SIGNED_LINK,
    "ReceiveTwilioStatus": access_pb2.PROOF_PROVIDER_SIGNATURE,
    "ReceiveTwilioInbound": access_pb2.PROOF_PROVIDER_SIGNATURE,
    "ReceiveSns": access_pb2.PROOF_PROVIDER_SIGNATURE,
}
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
        assert method.containing_service.name in ANYONE
    assert rule.proof == PROVEN.get(method.name, access_pb2.PROOF_UNSPECIFIED)
    assert rule.by_category == (rule.scope == "notifications.send")
    # What sends without a category must not be a way around a limit to some.
    past_categories = method.name in {"SendEmail", "SendPush", "SendSms", "Publish"}
    assert rule.not_narrowed == ("notifications.send" if past_categories else "")
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


# -- any principal, any rule


NAMES = st.sampled_from(["ann", "Ann", "bob", "", "ann ", "\u0430nn"])
SCOPE_NAMES = (
    "inbox.read",
    "notifications.send",
    "notifications.send:social",
    "notifications.send:",
    "channels.send",
    "realtime.publish",
    "inbox",
    "",
)
SOCIAL_SCOPES = {"notifications.send:social", "notifications.send:"}
PRINCIPALS = st.builds(
    Principal,
    use=st.sampled_from(["user", "service", "operator", "nobody", ""]),
    subject=NAMES,
    scopes=st.frozensets(st.sampled_from(SCOPE_NAMES)),
    expires=st.just(0.0),
)


def model(method: MethodDescriptor, principal: Principal, user_id: str) -> bool:
    """Who may, said as the document says it."""
    rule = access.rule(method)
    match principal.use:
        case "user":
            return rule.self == "user_id" and principal.subject == user_id
        case "operator":
            return rule.operator
        case "service":
            whole = rule.not_narrowed in principal.scopes
            if rule.not_narrowed and not whole and SOCIAL_SCOPES & principal.scopes:
                return False
            wanted = {rule.scope} - {""}
            narrow = {one for one in principal.scopes if one.startswith(f"{rule.scope}:")}
            return bool(wanted & principal.scopes) or (rule.by_category and bool(narrow))
        case _:
            return False


@given(st.sampled_from(METHODS), PRINCIPALS, NAMES)
def test_a_call_is_allowed_as_the_model_says(
    method: MethodDescriptor, principal: Principal, user_id: str
) -> None:
    request = SimpleNamespace(**{field.name: "" for field in method.input_type.fields} | {"user_id": user_id})
    try:
        access.check(method)(principal, request)
        allowed = True
    except NotAllowed:
        allowed = False
    assert allowed == model(method, principal, user_id)


# -- categories


@pytest.mark.parametrize(
    ("scopes", "found"),
    [
        ({"notifications.send"}, None),
        ({"notifications.send", "notifications.send:social"}, None),
        ({"notifications.send:social", "notifications.send:system", "inbox.read"}, {"social", "system"}),
        ({"inbox.read:social"}, set()),
        (set(), set()),
        ({"notifications.sendsocial", "xnotifications.send:social"}, set()),
    ],
)
def test_a_scope_may_be_for_categories(scopes: set[str], found: set[str] | None) -> None:
    principal = Principal("service", "feed", frozenset(scopes), 0)
    assert access.categories(principal, "notifications.send") == found


def test_a_scope_for_a_category_opens_only_what_looks_at_categories() -> None:
    narrow = Principal("service", "feed", frozenset({"inbox.read:social"}), 0)
    request = SimpleNamespace(user_id="user123")
    with pytest.raises(NotAllowed):
        access.check(made_up(access_pb2.AccessRule(scope="inbox.read")))(narrow, request)
    access.check(made_up(access_pb2.AccessRule(scope="inbox.read", by_category=True)))(narrow, request)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ({"channels.send"}, True),
        ({"channels.send", "notifications.send"}, True),
        ({"channels.send", "notifications.send:social"}, False),
        ({"channels.send", "notifications.send", "notifications.send:social"}, True),
        ({"channels.send", "inbox.read:social"}, True),
        ({"notifications.send:social"}, False),
        ({"channels.send:social"}, False),
    ],
)
def test_what_has_no_category_is_not_for_who_is_limited_to_some(scopes: set[str], allowed: bool) -> None:
    rule = access_pb2.AccessRule(scope="channels.send", not_narrowed="notifications.send")
    apply = access.check(made_up(rule))
    principal = Principal("service", "feed", frozenset(scopes), 0)
    if allowed:
        apply(principal, SimpleNamespace(user_id="user123"))
        return
    with pytest.raises(NotAllowed, match="for all categories or none"):
        apply(principal, SimpleNamespace(user_id="user123"))


# -- topics


def may(rule: access_pb2.TopicRule, principal: Principal, name: str) -> str:
    try:
        return "as a member" if access.check_topic(rule, principal, name) else "yes"
    except NotAllowed:
        return "no"


TOPICS = {
    "self": access_pb2.TopicRule(kinds=["t"], self=True),
    "member": access_pb2.TopicRule(kinds=["t"], member=True),
    "operator": access_pb2.TopicRule(kinds=["t"], operator=True),
    "named": access_pb2.TopicRule(kinds=["t"], name="metrics", operator=True),
    "nobody": access_pb2.TopicRule(kinds=["t"]),
}


@pytest.mark.parametrize(
    ("rule", "principal", "name", "answer"),
    [
        ("self", USER, "user123", "yes"),
        ("self", USER, "user12", "no"),
        ("self", USER, "", "no"),
        ("self", OPERATOR, "olga", "no"),
        ("self", EVERYTHING, "feed", "no"),
        ("member", USER, "lobby", "as a member"),
        ("member", OPERATOR, "lobby", "no"),
        ("member", EVERYTHING, "lobby", "no"),
        ("operator", OPERATOR, "anything", "yes"),
        ("operator", USER, "user123", "no"),
        ("named", OPERATOR, "metrics", "yes"),
        ("named", OPERATOR, "metrics2", "no"),
        ("named", USER, "metrics", "no"),
        ("nobody", OPERATOR, "x", "no"),
        ("nobody", USER, "user123", "no"),
    ],
)
def test_the_rule_of_a_topic_decides(rule: str, principal: Principal, name: str, answer: str) -> None:
    assert may(TOPICS[rule], principal, name) == answer


def test_the_topics_of_the_contract() -> None:
    (realtime,) = (one for one in services() if one.name == "RealtimeService")
    rules = access.topic_rules(realtime)
    assert {kind: (r.self, r.member, r.operator, r.name) for kind, r in rules.items()} == {
        "user": (True, False, False, ""),
        "group": (False, True, False, ""),
        "chat": (False, True, False, ""),
        "ops": (False, False, True, "metrics"),
    }
