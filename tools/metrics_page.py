"""Writes docs/metrics.md from the table of crown/metrics.py. With --check it compares instead, and fails where the
page is not what the table gives."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from crown import metrics
from crown.series import Label, Section, Series
from tools.made import keep

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "metrics.md"
_HEAD = """\
# Metrics

Each process serves Prometheus text on its metrics port, at `/metrics`; with `CROWN_REALTIME_PROCESSES` above 1 the
realtime processes do so on that port and those after it. Every series stands in the table of `crown/metrics.py`, and
this page is made from it by `python -m tools.metrics_page`. Buckets of a histogram are cumulative, `le` is their
bound.

`monitoring/prometheus.yaml` scrapes a suite on one machine, with the rules of `monitoring/alerts.yaml`;
[runbook.md](runbook.md) says what to do about each alert. The dashboards in `monitoring/grafana` are
made from the same table, one a section of this page and one to begin with: import them, or have Grafana
provision the folder. They ask which Prometheus, and `job` picks a suite or a service.

Where several processes tell the same, as all that keep books do, take the `max`; counters and what each has
for itself are to be added up.
"""


def page() -> str:
    """The text of the page."""
    uses = Counter(label for series in metrics.TABLE.entries for label in series.labels)
    shared = {label for label, count in uses.items() if count > 1}
    parts = [_HEAD, "\n## Labels of many\n\n"]
    parts += [f"- {_told(label)}\n" for label in uses if label in shared]
    for section in Section:
        rows = [_row(series, shared) for series in metrics.TABLE.entries if series.section is section]
        parts.append(f"\n## {section.value}\n\n| series | tells | labels |\n| --- | --- | --- |\n")
        parts += rows
    return "".join(parts)


def _row(series: Series, shared: Collection[Label]) -> str:
    kind = f"{series.kind}, {series.unit}" if series.unit else series.kind
    told = f"{series.help} ({kind})" + (f"; {series.note}" if series.note else "")
    labels = "; ".join(f"`{one.name}`" if one in shared else _told(one) for one in series.labels)
    return f"| `{series.name}` | {told} | {labels} |\n"


def _told(label: Label) -> str:
    values = ", ".join(f"`{value}`" for value in label.values)
    return f"`{label.name}`: {label.meaning}" + (f" ({values})" if values else "")


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it."""
    return keep({PAGE: page()}, "crown/metrics.py", "tools.metrics_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
