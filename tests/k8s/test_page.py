"""k8s/README.md says how it is: what its commands name is there, and so is what it says of versions and Secrets."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.k8s.manifests import DATA, NAMESPACE, ROOT, Manifests, container
from tests.k8s.test_schema import VERSIONS

PAGE = (ROOT / "k8s" / "README.md").read_text()
# Folders that kubectl is given, but for those that make_secrets.py makes.
APPLIED = sorted(
    {path for path in re.findall(r"kubectl (?:apply|diff) -k ([\w/-]+)", PAGE) if path.startswith("k8s/")}
)
FILES = sorted(set(re.findall(r"(?:-f|--values) (\S+)", PAGE)))


@pytest.mark.parametrize("folder", APPLIED)
def test_what_is_applied_is_rendered(folder: str) -> None:
    assert Manifests.render(folder).objects


@pytest.mark.parametrize("name", FILES)
def test_files_are_there(name: str) -> None:
    assert yaml.safe_load((ROOT / name).read_text())


def test_it_names_the_versions_that_are_checked() -> None:
    assert f"{VERSIONS[0]}, {VERSIONS[1]} and {VERSIONS[2]}" in PAGE


def test_it_names_each_secret_and_each_key(made_secrets: dict[str, Manifests]) -> None:
    table = PAGE.partition("## Secrets")[2].partition("\n## ")[0]
    for one in made_secrets[NAMESPACE].of("Secret"):
        name = one["metadata"]["name"]
        short = name if f"`{name}`" in table else f"{name.rpartition('-')[0]}-…"
        assert f"`{short}`" in table
        assert all(f"`{key}`" in table for key in one["data"])
    for name in made_secrets[DATA].names("Secret"):
        assert f"`{name}`" in table or name.startswith("mongodb-")


def test_it_says_how_many_pods_there_are() -> None:
    found = Manifests.render("k8s/overlays/production")
    table = PAGE.partition("## Scaling")[2].partition("\n## ")[0]
    for kind, least, most in (
        ("HorizontalPodAutoscaler", "minReplicas", "maxReplicas"),
        ("ScaledObject", "minReplicaCount", "maxReplicaCount"),
    ):
        for one in found.of(kind):
            name, bounds = one["metadata"]["name"], f"{one['spec'][least]}–{one['spec'][most]}"  # noqa: RUF001
            short = name.replace("ingest-dispatch-critical", "…-critical")
            (row,) = (
                line
                for line in table.splitlines()
                if re.search(rf"(?<![\w-]){re.escape(short)}(?![\w-])", line)
            )
            _, roles, pods, *_ = (cell.strip().split(", ") for cell in row.split("|"))
            assert pods[roles.index(short)] == bounds


def test_it_says_how_long_a_pod_gets() -> None:
    found = Manifests.render("k8s/overlays/production")
    assert "`CROWN_GRACE_S` (10 s, realtime 20)" in PAGE
    assert found.environment(found.find("Deployment", "realtime"))["CROWN_GRACE_S"] == "20"
    waits = {container(one)["lifecycle"]["preStop"]["sleep"]["seconds"] for one in found.of("Deployment")}
    assert waits == {5}
