"""The table of metrics: it refuses what would be no good entry, and nobody makes metrics elsewhere."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from prometheus_client import Histogram

from crown import metrics
from crown.series import Section, Series, Table

ROOT = Path(__file__).resolve().parents[3]
MAKERS = {"crown/series.py", "crown/metrics.py"}
FOLDERS = ("crown", "services", "gateway")


def uses_the_library(path: Path) -> bool:
    """Whether a module imports prometheus_client."""
    return any(
        (isinstance(node, ast.Import) and any(name.name.startswith("prometheus") for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus"))
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_metrics_are_made_in_one_place() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if uses_the_library(path)
    }
    assert found == MAKERS


@pytest.mark.parametrize("series", metrics.TABLE.entries, ids=lambda series: str(series.name))
def test_an_entry_says_all_there_is_to_say(series: Series) -> None:
    assert series.help
    assert not series.help.endswith(".")
    assert series.name.startswith(("crown_", "process_", "python_"))
    if series.name.endswith(("_seconds", "_bytes")):
        assert series.unit in series.name
    for label in series.labels:
        assert label.meaning
    if series.kind == "histogram":
        assert list(series.buckets) == sorted(series.buckets)


def test_a_counter_is_named_as_one() -> None:
    with pytest.raises(ValueError, match="crown_things: a counter's name ends in _total"):
        Table().counter("crown_things", "Things", Section.DOOR)


def test_a_name_is_taken_once() -> None:
    table = Table()
    table.foreign("crown_things", "gauge", "Things")
    with pytest.raises(ValueError, match="crown_things: is in the table already"):
        table.foreign("crown_things", "gauge", "Things")


def test_what_a_histogram_serves_has_three_names() -> None:
    names = {name for name in metrics.TABLE.samples() if name.startswith("crown_handed")}
    assert names == {"crown_handed_seconds_bucket", "crown_handed_seconds_sum", "crown_handed_seconds_count"}


def test_the_promise_is_a_bucket() -> None:
    """What the alerts count as in time is what was handed over within 10 s: they need that very bound."""
    (series,) = (one for one in metrics.TABLE.entries if one.name == "crown_handed_seconds")
    assert 10.0 in series.buckets
    assert isinstance(metrics.HANDED, Histogram)
