"""What NetworkPolicies allow, as a network that enforces them would decide."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from tests.k8s.manifests import Object, Pod, selects


class Policies:
    """All policies, of any namespace."""

    def __init__(self, policies: Iterable[Object]) -> None:
        self._policies = list(policies)
        self._known: dict[tuple[str, str], list[Object]] = {}

    def _on(self, pod: Pod, direction: str) -> list[Object]:
        if (pod.name, direction) not in self._known:
            self._known[pod.name, direction] = self._selecting(pod, direction)
        return self._known[pod.name, direction]

    def _selecting(self, pod: Pod, direction: str) -> list[Object]:
        return [
            one
            for one in self._policies
            if one["metadata"]["namespace"] == pod.namespace
            and direction in one["spec"]["policyTypes"]
            and selects(one["spec"]["podSelector"], pod.labels)
        ]

    def sends(self, pod: Pod, to: Pod | str, port: int, protocol: str = "TCP") -> bool:
        """Whether a pod may open a connection to another, or to an address outside."""
        return self._allowed(pod, "Egress", to, port, to if isinstance(to, Pod) else None, protocol)

    def receives(self, pod: Pod, source: Pod | str, port: int) -> bool:
        """Whether a pod takes a connection from another, or from an address outside."""
        return self._allowed(pod, "Ingress", source, port, pod, "TCP")

    def passes(self, source: Pod, to: Pod, port: int, protocol: str = "TCP") -> bool:
        """Whether a connection comes about."""
        return self.sends(source, to, port, protocol) and self.receives(to, source, port)

    def _allowed(
        self, pod: Pod, direction: str, peer: Pod | str, port: int, named: Pod | None, protocol: str
    ) -> bool:
        policies = self._on(pod, direction)
        if not policies:
            return True
        return any(
            _has_port(rule.get("ports"), port, named, protocol)
            and _is_peer(rule.get(_side(direction)), peer, pod)
            for policy in policies
            for rule in policy["spec"].get(direction.lower(), [])
        )


def rules(policy: Object) -> Iterator[tuple[str, Object]]:
    """Each rule of a policy with its direction."""
    for direction in policy["spec"]["policyTypes"]:
        for rule in policy["spec"].get(direction.lower(), []):
            yield direction, rule


def peers(direction: str, rule: Object) -> list[Object]:
    """Whom a rule is about; empty where it is about everybody."""
    return list(rule.get(_side(direction)) or [])


def _side(direction: str) -> str:
    return "from" if direction == "Ingress" else "to"


def _has_port(ports: list[Object] | None, port: int, named: Pod | None, protocol: str) -> bool:
    if ports is None:
        return True
    return any(
        one.get("protocol", "TCP") == protocol
        and (one["port"] == port or (named is not None and named.ports.get(str(one["port"])) == port))
        for one in ports
    )


def _is_peer(allowed: list[Object] | None, peer: Pod | str, pod: Pod) -> bool:
    if not allowed:
        return True
    return any(_fits(one, peer, pod.namespace) for one in allowed)


def _fits(one: Object, peer: Pod | str, own_namespace: str) -> bool:
    if isinstance(peer, str):
        return "ipBlock" in one and _in_block(one["ipBlock"], peer)
    return "ipBlock" not in one and fits_pod(one, peer, own_namespace)


def fits_pod(one: Object, peer: Pod, own_namespace: str) -> bool:
    """Whether a peer of a rule is this pod."""
    if "namespaceSelector" in one:
        if not selects(one["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace}):
            return False
    elif peer.namespace != own_namespace:
        return False
    return selects(one.get("podSelector", {}), peer.labels)


def _in_block(block: dict[str, Any], address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ip in ipaddress.ip_network(block["cidr"]) and not any(
        ip in ipaddress.ip_network(one) for one in block.get("except", [])
    )
