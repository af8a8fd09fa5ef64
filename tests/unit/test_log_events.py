"""docs/logs.md has a row for each event that the code logs, with its level, and for no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
LEVELS = {"debug", "info", "warning", "error", "exception"}
ROW = re.compile(r"^\| (`[a-z_`, ]+`) \| (\w+) \| ([^|]+) \|[^|]*\|$", re.MULTILINE)


def logged(path: Path) -> Iterator[tuple[str, str]]:
    """Every event of a module with its level."""
    tree = ast.parse(path.read_text())
    tables = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "log" and node.func.attr in LEVELS:
            for event in names(node.args[0], tables):
                yield event, node.func.attr.replace("exception", "error")


def names(told: ast.expr, tables: dict[str, ast.expr]) -> Iterator[str]:
    """The words that an event is one of: written out, one of two, or from a table."""
    match told:
        case ast.Constant(str(word)):
            yield word
        case ast.IfExp(body=one, orelse=other):
            yield from names(one, tables)
            yield from names(other, tables)
        case ast.Subscript(value=ast.Name(name)) if isinstance(table := tables.get(name), ast.Dict):
            for value in table.values:
                yield from names(value, tables)
        case _:
            pytest.fail(f"line {told.lineno}: an event is a word that stands in the code")


def in_code() -> set[tuple[str, str]]:
    return {
        found
        for folder in ("crown", "services")
        for path in (ROOT / folder).rglob("*.py")
        if "_pb2" not in path.name
        for found in logged(path)
    }


def on_page() -> list[tuple[str, str]]:
    return [
        (name, level) for cell, level, _ in ROW.findall(PAGE) for name in re.findall(r"`([a-z_]+)`", cell)
    ]


def test_every_event_has_a_row_and_every_row_an_event() -> None:
    assert set(on_page()) == in_code()


def test_no_event_has_two_rows() -> None:
    assert len(on_page()) == len(set(on_page()))


def test_an_event_has_one_level() -> None:
    events = [event for event, _ in in_code()]
    assert sorted(events) == sorted(set(events))


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('log.info("a")', {("a", "info")}),
        ('log.exception("a", x=1)', {("a", "error")}),
        ('log.warning("a" if x else "b")', {("a", "warning"), ("b", "warning")}),
        ('T = {1: "a", 2: "b"}\nlog.error(T[x])', {("a", "error"), ("b", "error")}),
        ('other.info("a")', set()),
    ],
)
def test_events_are_found(tmp_path: Path, code: str, found: set[tuple[str, str]]) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)
    assert set(logged(path)) == found


def test_an_event_that_is_put_together_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('log.info(f"a_{x}")')
    with pytest.raises(pytest.fail.Exception, match="an event is a word that stands in the code"):
        list(logged(path))
