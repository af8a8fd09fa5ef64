"""services -> crown -> libraries: never back, never sideways."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SERVICES = sorted(
    path.name for path in (ROOT / "services").iterdir() if path.is_dir() and path.name.isalpha()
)


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(folder: str, *forbidden: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imports_of(path)
        if any(name == one or name.startswith(f"{one}.") for one in forbidden)
    ]


def test_the_shared_package_knows_no_service() -> None:
    assert offences("crown", "services", "stack", "gateway", "tests", "bench") == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_knows_no_other_and_not_the_stack(service: str) -> None:
    others = [f"services.{other}" for other in SERVICES if other != service]
    assert offences(f"services/{service}", "stack", "gateway", "tests", "bench", *others) == []


def test_the_stack_runs_services_without_importing_them() -> None:
    assert offences("stack", "services", "tests", "bench") == []
