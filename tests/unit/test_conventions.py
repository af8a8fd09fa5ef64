"""What holds everywhere and no linter knows: where settings are read, and where the version stands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import crown

ROOT = Path(__file__).resolve().parents[2]
# Who reads the environment: the settings of services, what renders the gateway's configuration and runs it, and what
# gives the examples an environment of their own.
READERS = {
    "crown/settings.py",
    "gateway/render.py",
    "gateway/__main__.py",
    "tools/clients.py",
    "tools/examples.py",
}
FOLDERS = ("crown", "services", "gateway", "tools")


def modules() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "_pb2" not in path.name:
                yield path


def reads_environment(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names})
        for node in ast.walk(tree)
    )


def test_settings_are_read_in_one_place() -> None:
    found = {str(path.relative_to(ROOT)) for path in modules() if reads_environment(path)}
    assert found == READERS


def test_the_version_stands_in_one_place() -> None:
    found = [
        str(path.relative_to(ROOT))
        for pattern in (
            "*.toml",
            "Dockerfile",
            "compose.yaml",
            "README.md",
            "crown/*.py",
            "services/**/*.py",
            "stack/**/*.py",
        )
        for path in ROOT.glob(pattern)
        if re.search(rf"(?<![\d.=]){re.escape(crown.__version__)}(?![\d.])", path.read_text())
    ]
    assert found == ["crown/__init__.py"]
    assert version("crown-notification-service") == crown.__version__


def test_no_message_is_given_back_at_once() -> None:
    """A bare `nak` comes again within a millisecond, and burns through any number of deliveries."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "nak"
        if not node.args and not node.keywords
    ]
    assert found == []
