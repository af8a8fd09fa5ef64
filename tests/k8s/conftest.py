"""What the manifests are checked against: the Secrets that k8s/make_secrets.py makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8s import make_secrets
from tests.k8s.manifests import DATA, NAMESPACE, Manifests


@pytest.fixture(scope="session")
def secret_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the values are."""
    folder = tmp_path_factory.mktemp("secrets")
    make_secrets.make(folder)
    return folder


@pytest.fixture(scope="session")
def made_secrets(secret_folder: Path) -> dict[str, Manifests]:
    """The Secrets of each namespace, as kustomize makes them of what was written."""
    return {name: Manifests.render(str(secret_folder / name)) for name in (NAMESPACE, DATA)}
