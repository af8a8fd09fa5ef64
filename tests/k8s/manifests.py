"""The manifests as they are rendered, and what they say: environments, ports, what is mounted where."""

from __future__ import annotations

import copy
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
KUSTOMIZE = ROOT / ".cache" / "bin" / "kustomize"
# What is checked: the overlays, production with all that it can have, and what the suite depends on.
SUITES = {
    "dev": "k8s/overlays/dev",
    "production": "k8s/overlays/production",
    "everything": "tests/k8s/everything",
    "mtls": "tests/k8s/mtls",
}
DEPENDENCIES = "k8s/dependencies"
NAMESPACE, DATA = "crown", "crown-data"
NAME = "app.kubernetes.io/name"
# Pods that are not ours to write, but that ours speak with.
_ELSEWHERE = {
    "kube-dns": ("kube-system", {"k8s-app": "kube-dns"}, (53,)),
    "auth": ("auth", {NAME: "auth"}, (8080,)),
    "nats": (DATA, {NAME: "nats"}, (4222, 6222, 8222)),
    "crown-0": (DATA, {"app": "crown-svc"}, (27017,)),
    "valkey": (DATA, {NAME: "valkey"}, (6379,)),
    "prometheus": ("monitoring", {NAME: "prometheus"}, ()),
}


@functools.cache
def _built(folder: str) -> tuple[Object, ...]:
    assert KUSTOMIZE.exists(), "kustomize is missing: tools/go_tools.sh builds it"
    result = subprocess.run(
        [KUSTOMIZE, "build", folder], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return tuple(yaml.safe_load_all(result.stdout))


@dataclass(frozen=True)
class Pod:
    """A pod as others see it: where it is, its labels, and its ports, by name where they have one."""

    name: str
    namespace: str
    labels: dict[str, str]
    ports: dict[str, int]


class Manifests:
    """All objects of one rendering. A copy of its own: tests break it."""

    def __init__(self, objects: tuple[Object, ...] | list[Object]) -> None:
        self.objects: list[Object] = copy.deepcopy(list(objects))

    @classmethod
    def render(cls, folder: str) -> Manifests:
        """What kustomize makes of a folder."""
        return cls(_built(folder))

    def of(self, kind: str) -> list[Object]:
        """Every object of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def find(self, kind: str, name: str) -> Object:
        """The object of that name. Raises KeyError."""
        for one in self.of(kind):
            if one["metadata"]["name"] == name:
                return one
        raise KeyError(f"there is no {kind} {name}")

    def names(self, kind: str) -> set[str]:
        """The names of all of a kind."""
        return {one["metadata"]["name"] for one in self.of(kind)}

    # -- pods

    def workloads(self) -> list[Object]:
        """What makes pods."""
        return [one for one in self.objects if one["kind"] in {"Deployment", "StatefulSet", "Job"}]

    def pods(self) -> Iterator[Pod]:
        """A pod of each of our workloads."""
        for one in self.workloads():
            labels = one["spec"]["template"]["metadata"]["labels"]
            ports = {port["name"]: port["containerPort"] for port in container(one).get("ports", [])}
            yield Pod(one["metadata"]["name"], one["metadata"]["namespace"], labels, ports)

    def world(self) -> list[Pod]:
        """Our pods, and those elsewhere that they speak with."""
        others = (
            Pod(name, namespace, labels, {str(port): port for port in ports})
            for name, (namespace, labels, ports) in _ELSEWHERE.items()
        )
        return [*self.pods(), *others]

    def environment(self, workload: Object) -> dict[str, str]:
        """What the container of a workload is told. Raises KeyError where a ConfigMap is not there."""
        found: dict[str, str] = {}
        for source in container(workload).get("envFrom", []):
            found |= self.find("ConfigMap", source["configMapRef"]["name"]).get("data", {})
        for one in container(workload).get("env", []):
            found[one["name"]] = one["value"]
        return found

    def files(self, workload: Object) -> dict[str, tuple[str, str, str]]:
        """Every file that is mounted: its path, and the kind, name and key that it comes from."""
        volumes = {volume["name"]: volume for volume in pod_spec(workload)["volumes"]}
        found: dict[str, tuple[str, str, str]] = {}
        for mount in container(workload).get("volumeMounts", []):
            for kind, name, key, path in self._items(volumes[mount["name"]]):
                found[f"{mount['mountPath']}/{path}"] = (kind, name, key)
        return found

    def _items(self, volume: Object) -> Iterator[tuple[str, str, str, str]]:
        for source in volume.get("projected", {}).get("sources", [volume]):
            for kind, field, called in (
                ("Secret", "secret", "secretName"),
                ("ConfigMap", "configMap", "name"),
            ):
                if field in source:
                    name = source[field].get(called) or source[field]["name"]
                    items = source[field].get("items")
                    if items is None:
                        items = [{"key": key, "path": key} for key in self.find(kind, name)["data"]]
                    for item in items:
                        yield kind, name, item["key"], item["path"]


def container(workload: Object) -> Object:
    """The one container of a workload."""
    (found,) = pod_spec(workload)["containers"]
    return dict(found)


def pod_spec(workload: Object) -> Object:
    """What its pods are."""
    found: Object = workload["spec"]["template"]["spec"]
    return found


def writable(workload: Object) -> list[str]:
    """The folders that its container may write to."""
    empty = {volume["name"] for volume in pod_spec(workload)["volumes"] if "emptyDir" in volume}
    return [m["mountPath"] for m in container(workload)["volumeMounts"] if m["name"] in empty]


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        has = labels.get(expression["key"])
        match expression["operator"]:
            case "In":
                good = has in expression["values"]
            case "NotIn":
                good = has not in expression["values"]
            case other:
                raise ValueError(other)
        if not good:
            return False
    return True
