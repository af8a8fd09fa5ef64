"""Every rule holds for every overlay, and each is shown to see a manifest that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.k8s import policy
from tests.k8s.manifests import SUITES, Manifests, Object, container, pod_spec

Rule = Callable[[Manifests], Iterable[str]]

RULES: list[Rule] = [
    policy.is_restricted,
    policy.has_no_rights_at_the_api_server,
    policy.is_told_nothing_by_service_links,
    policy.asks_and_is_bounded,
    policy.is_spread,
    policy.goes_one_by_one,
    policy.is_probed,
    policy.has_time_to_drain,
    policy.denies_by_default,
    policy.allows_no_more_than_named,
    policy.reaches_no_private_address,
    policy.calls_out_only_where_it_must,
    policy.leaves_the_count_to_its_scaler,
]
SCALING: list[Rule] = [policy.scales_workers_by_lag, policy.scales_what_is_called_by_load]


@pytest.mark.parametrize("folder", SUITES.values(), ids=SUITES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_holds(rule: Rule, folder: str) -> None:
    found = Manifests.render(folder)
    if folder == SUITES["dev"]:
        _without_stand_ins(found)
    assert list(rule(found)) == []


@pytest.mark.parametrize("folder", ["k8s/overlays/production", "tests/k8s/everything"])
@pytest.mark.parametrize("rule", SCALING, ids=lambda rule: rule.__name__)
def test_it_scales(rule: Rule, folder: str) -> None:
    assert list(rule(Manifests.render(folder))) == []


def _without_stand_ins(found: Manifests) -> None:
    """The server that gives out keys in the overlay dev drains nothing and is asked by HTTP."""
    found.find("Deployment", "auth")["metadata"]["labels"]["app.kubernetes.io/component"] = "gateway"


# -- broken copies: who breaks it, how, and what the rule says


def _email(found: Manifests) -> Object:
    return found.find("Deployment", "email")


def _set(path: str, value: Any, kind: str = "Deployment", name: str = "email") -> Callable[[Manifests], None]:
    """Sets what a path leads to; `-` removes it. A number is a place in a list."""

    def breaking(found: Manifests) -> None:
        at: Any = found.find(kind, name)
        *way, last = [int(part) if part.isdecimal() else part for part in path.split(" ")]
        for part in way:
            at = at[part]
        if value == "-":
            del at[last]
        else:
            at[last] = value

    return breaking


def _remove(kind: str, name: str) -> Callable[[Manifests], None]:
    def breaking(found: Manifests) -> None:
        found.objects.remove(found.find(kind, name))

    return breaking


_POD = "spec template spec"
_BOX = f"{_POD} containers 0"
_CONTEXT = f"{_BOX} securityContext"
BROKEN: list[tuple[Rule, str, Callable[[Manifests], None], str]] = [
    (policy.is_restricted, "namespace",
     _set("metadata labels pod-security.kubernetes.io/enforce", "baseline", "Namespace", "crown"), "baseline"),
    (policy.is_restricted, "root", _set(f"{_POD} securityContext runAsNonRoot", False), "runAsNonRoot"),
    (policy.is_restricted, "user 0", _set(f"{_POD} securityContext runAsUser", 0), "runAsUser"),
    (policy.is_restricted, "seccomp", _set(f"{_POD} securityContext seccompProfile", "-"), "seccompProfile"),
    (policy.is_restricted, "escalation", _set(f"{_CONTEXT} allowPrivilegeEscalation", True), "allowPrivilege"),
    (policy.is_restricted, "privileged", _set(f"{_CONTEXT} privileged", True), "privileged"),
    (policy.is_restricted, "root file system", _set(f"{_CONTEXT} readOnlyRootFilesystem", "-"), "readOnlyRoot"),
    (policy.is_restricted, "capabilities", _set(f"{_CONTEXT} capabilities", {"drop": ["NET_RAW"]}), "capabilities"),
    (policy.is_restricted, "host network", _set(f"{_POD} hostNetwork", True), "host"),
    (policy.is_restricted, "host port", _set(f"{_BOX} ports 0 hostPort", 50051), "hostPort"),
    (policy.is_restricted, "host path", _set(f"{_POD} volumes 0", {"name": "tmp", "hostPath": {}}), "volumes"),
    (policy.has_no_rights_at_the_api_server, "token", _set(f"{_POD} automountServiceAccountToken", True), "mounted"),
    (policy.has_no_rights_at_the_api_server, "token of the account",
     _set("automountServiceAccountToken", "-", "ServiceAccount"), "by default"),
    (policy.has_no_rights_at_the_api_server, "no account", _remove("ServiceAccount", "email"), "no account"),
    (policy.has_no_rights_at_the_api_server, "shared", _set(f"{_POD} serviceAccountName", "push"), "shares"),
    (policy.is_told_nothing_by_service_links, "links", _set(f"{_POD} enableServiceLinks", "-"), "email"),
    (policy.asks_and_is_bounded, "requests", _set(f"{_BOX} resources requests memory", "-"), "requests of memory"),
    (policy.asks_and_is_bounded, "limits", _set(f"{_BOX} resources limits memory", "-"), "limits of memory"),
    (policy.asks_and_is_bounded, "scratch", _set(f"{_POD} volumes 0 emptyDir", {}), "no bound"),
    (policy.is_spread, "nodes", _set(f"{_POD} topologySpreadConstraints 0", "-"), "hostname"),
    (policy.is_spread, "zones", _set(f"{_POD} topologySpreadConstraints 1", "-"), "zone"),
    (policy.goes_one_by_one, "none", _remove("PodDisruptionBudget", "email"), "budget"),
    (policy.goes_one_by_one, "two", _set("spec maxUnavailable", 2, "PodDisruptionBudget"), "budget"),
    (policy.goes_one_by_one, "rolling", _set("spec strategy rollingUpdate maxUnavailable", 1), "before a new one"),
    (policy.is_probed, "liveness", _set(f"{_BOX} livenessProbe", "-"), "no liveness"),
    (policy.is_probed, "readiness", _set(f"{_BOX} readinessProbe", "-"), "no readiness"),
    (policy.is_probed, "startup", _set(f"{_BOX} startupProbe", "-"), "no startup"),
    (policy.is_probed, "exec", _set(f"{_BOX} readinessProbe exec", {"command": ["true"]}), "a program"),
    (policy.is_probed, "restart storm", _set(f"{_BOX} livenessProbe grpc service", ""), "would restart"),
    (policy.is_probed, "slow start", _set(f"{_BOX} startupProbe grpc service", ""), "would restart"),
    (policy.is_probed, "half ready", _set(f"{_BOX} readinessProbe grpc service", "alive"), "readiness asks"),
    (policy.has_time_to_drain, "no sleep", _set(f"{_BOX} lifecycle", "-"), "sleeps 0"),
    (policy.has_time_to_drain, "killed", _set(f"{_POD} terminationGracePeriodSeconds", 30), "killed after 30"),
    (policy.has_time_to_drain, "gateway",
     _set(f"{_POD} terminationGracePeriodSeconds", 30, name="gateway"), "killed after 30"),
    (policy.has_time_to_drain, "sockets",
     _set(f"{_BOX} env 1 value", "30", name="realtime"), "needs 75"),
    (policy.denies_by_default, "gone", _remove("NetworkPolicy", "nothing"), "no policy"),
    (policy.denies_by_default, "one way", _set("spec policyTypes", ["Ingress"], "NetworkPolicy", "nothing"), "no"),
    (policy.denies_by_default, "holes", _set("spec egress", [{}], "NetworkPolicy", "nothing"), "no policy"),
    (policy.allows_no_more_than_named, "ports", _set("spec egress 0 ports", "-", "NetworkPolicy", "mail"), "every"),
    (policy.allows_no_more_than_named, "peers", _set("spec egress 0 to", "-", "NetworkPolicy", "mail"), "everybody"),
    (policy.allows_no_more_than_named, "from all",
     _set("spec ingress 0 from", "-", "NetworkPolicy", "ingest-api"), "everybody"),
    *((policy.reaches_no_private_address, f"hole {place}",
       _set(f"spec egress 0 to 0 ipBlock except {place}", "203.0.113.0/24", "NetworkPolicy", "providers"), "reaches")
      for place in (0, 1, 2, 3, 4, 5, 6)),
    *((policy.reaches_no_private_address, f"hole of v6 {place}",
       _set(f"spec egress 0 to 1 ipBlock except {place}", "2001:db8::/32", "NetworkPolicy", "providers"), "reaches")
      for place in (0, 1, 2, 3, 4)),
    (policy.calls_out_only_where_it_must, "everybody",
     _set("spec podSelector", {}, "NetworkPolicy", "providers"), "realtime reaches"),
    (policy.calls_out_only_where_it_must, "smtp",
     _set("spec egress 0 ports 0 port", 25, "NetworkPolicy", "mail"), "email reaches"),
    (policy.leaves_the_count_to_its_scaler, "count", _set("spec replicas", 1), "email"),
    (policy.scales_workers_by_lag, "none", _remove("ScaledObject", "email"), "not by lag"),
    (policy.scales_workers_by_lag, "by load",
     _set("spec scaleTargetRef name", "email", "HorizontalPodAutoscaler", "realtime"), "not by lag"),
    (policy.scales_workers_by_lag, "none left", _set("spec minReplicaCount", 0, "ScaledObject"), "fewer"),
    (policy.scales_workers_by_lag, "consumer",
     _set("spec triggers 0 metadata consumer", "mail", "ScaledObject"), "nobody reads"),
    (policy.scales_workers_by_lag, "half", _set("spec triggers 0", "-", "ScaledObject"), "is not watched"),
    (policy.scales_what_is_called_by_load, "none", _remove("HorizontalPodAutoscaler", "ingest-api"), "not scaled"),
    (policy.scales_what_is_called_by_load, "one",
     _set("spec minReplicas", 1, "HorizontalPodAutoscaler", "realtime"), "fewer"),
    (policy.scales_what_is_called_by_load, "sockets",
     _set("spec behavior scaleDown policies", "-", "HorizontalPodAutoscaler", "realtime"), "sent about"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "breaking", "says"),
    [(rule, breaking, says) for rule, _, breaking, says in BROKEN],
    ids=[f"{rule.__name__}: {what}" for rule, what, _, _ in BROKEN],
)
def test_it_is_seen_to_be_broken(rule: Rule, breaking: Callable[[Manifests], None], says: str) -> None:
    found = Manifests.render(SUITES["production"])
    breaking(found)
    problems = list(rule(found))
    assert any(says in problem for problem in problems), problems


def test_every_rule_has_been_broken() -> None:
    assert {rule for rule, *_ in BROKEN} == {*RULES, *SCALING}


def test_only_one_container_stands_in_each_pod() -> None:
    found = Manifests.render(SUITES["everything"])
    assert all(len(pod_spec(one)["containers"]) == 1 and container(one) for one in found.workloads())
