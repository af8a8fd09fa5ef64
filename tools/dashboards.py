"""Writes the dashboards of Grafana, monitoring/grafana/*.json: one to begin with, whose panels stand in the table
below, and one for each section of the table of crown/metrics.py, with a panel for each of its entries. With --check
it compares instead, and fails where a file is not what the tables give."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crown import metrics
from crown.series import Section, Series

FOLDER = Path(__file__).resolve().parent.parent / "monitoring" / "grafana"
# Of the 24 columns that a dashboard has.
_WIDTH, _HEIGHT = 8, 8
_IN_A_ROW = 24 // _WIDTH
_UNITS = {"seconds": "s", "bytes": "bytes", "share": "percentunit", "rate": "ops", "": "short"}
_SOURCE = {"type": "prometheus", "uid": "${source}"}
# Chosen on the dashboard: which of several suites that one Prometheus watches.
_SUITE = 'job=~"$job"'


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel: each of `lines` is an expression and how its lines are called. `$at` becomes the matcher of the suite,
    `$per` the stretch over which rates are taken."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    told: str = ""


def _one(title: str, unit: str, expression: str, legend: str, told: str = "") -> Panel:
    return Panel(title, unit, ((expression, legend),), told)


_IN_TIME = 'sum by (channel) (rate(crown_handed_seconds_bucket{$at,le="10.0"}[$per]))'
_HANDED = "sum by (channel) (rate(crown_handed_seconds_count{$at}[$per]))"

OVERVIEW = (
    _one("Handed to a provider within 10 s", "share", f"{_IN_TIME} / {_HANDED}", "{{channel}}", "promised: 99 %"),
    _one("Accepted", "rate", "sum by (lane) (rate(crown_accepted_total{$at}[$per]))", "{{lane}}"),
    _one("Refused", "rate", "sum by (reason) (rate(crown_refused_total{$at}[$per]))", "{{reason}}"),
    _one(
        "Time until a provider had it, 99 of 100", "seconds",
        "histogram_quantile(0.99, sum by (channel, le) (rate(crown_handed_seconds_bucket{$at}[$per])))",
        "{{channel}}",
    ),
    _one(
        "Attempts, by outcome", "rate",
        "sum by (channel, outcome) (rate(crown_outcomes_total{$at}[$per]))", "{{channel}} {{outcome}}",
    ),
    _one(
        "Dead letters", "", "sum by (channel, reason) (increase(crown_dead_letters_total{$at}[15m]))",
        "{{channel}} {{reason}}", "in 15 minutes",
    ),
    _one(
        "Unknown outcomes", "", "sum by (channel, then) (increase(crown_unknown_outcomes_total{$at}[15m]))",
        "{{channel}} {{then}}", "in 15 minutes",
    ),
    Panel(
        "Books", "",
        (
            ("max(crown_books_difference{$at})", "accepted less terminal less in flight"),
            ("sum(max by (channel) (crown_books_in_flight{$at}))", "in flight"),
        ),
        "a difference that stays above 0 is a bug",
    ),
    _one(
        "Consumers' lag", "",
        "max by (stream, consumer) (crown_consumer_pending{$at}) > 0", "{{stream}} {{consumer}}",
    ),
    _one(
        "Calls that failed", "share",
        'sum by (code) (rate(crown_rpc_seconds_count{$at,code=~"INTERNAL|UNKNOWN|UNAVAILABLE"}[$per]))'
        " / scalar(sum(rate(crown_rpc_seconds_count{$at}[$per])))",
        "{{code}}",
    ),
    _one(
        "Late event loops, 99 of 100", "seconds",
        "histogram_quantile(0.99, sum by (job, instance, le) (rate(crown_loop_lag_seconds_bucket{$at}[$per])))",
        "{{job}} {{instance}}",
    ),
    _one("Open sockets", "", "sum(crown_sockets{$at})", "sockets"),
    _one(
        "What is logged at warning and error", "",
        "topk(10, sum by (event) (increase(crown_problems_total{$at}[15m])) > 0)", "{{event}}", "in 15 minutes",
    ),
    _one(
        "Providers", "", "max by (channel, provider) (crown_provider_state{$at})", "{{channel}} {{provider}}",
        "0 in use, 1 being probed, 2 out",
    ),
    _one(
        "Restarts", "", "sum by (job) (changes(process_start_time_seconds{$at}[1h]))", "{{job}}", "in an hour",
    ),
)  # fmt: skip


def dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards by file name."""
    found = {"crown-overview.json": _dashboard("crown-overview", "Crown: overview", OVERVIEW)}
    for section in Section:
        panels = [panel(series) for series in metrics.TABLE.entries if series.section is section]
        name = f"crown-{section.name.lower()}"
        found[f"{name}.json"] = _dashboard(name, f"Crown: {section.value.lower()}", panels)
    return found


def panel(series: Series) -> Panel:
    """What an entry of the table looks like by itself."""
    names = [label.name for label in series.labels]
    if series.section is Section.PROCESS:
        names = ["job", "instance", *names]
    legend = " ".join(f"{{{{{name}}}}}" for name in names) or series.name
    told = f"{series.help}. `{series.name}`"
    title = series.help.partition(",")[0].partition(";")[0].partition(":")[0]
    match series.kind:
        case "counter":
            rate = f"{_over('sum', names)} (rate({series.name}{{$at}}[$per]))"
            return _one(title, "rate" if not series.unit else series.unit, rate, legend, told)
        case "histogram":
            by = _over("sum", [*names, "le"])
            lines = tuple(
                (
                    f"histogram_quantile({share}, {by} (rate({series.name}_bucket{{$at}}[$per])))",
                    f"{legend} {round(share * 100)} of 100",
                )
                for share in (0.5, 0.99)
            )
            return Panel(title, series.unit, lines, told)
        case _:
            over = _over(series.over or "max", names)
            return _one(title, series.unit, f"{over} ({series.name}{{$at}})", legend, told)


def _over(function: str, names: Sequence[str]) -> str:
    return f"{function} by ({', '.join(names)})" if names else function


def _dashboard(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    return {
        "uid": uid,
        "title": title,
        "tags": ["crown"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "links": [
            {"type": "dashboards", "title": "Crown", "tags": ["crown"], "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": list(_variables())},
        "panels": [_panel(number, one) for number, one in enumerate(panels)],
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    yield {
        "name": "job",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(crown_build_info, job)", "refId": "job"},
        "definition": "label_values(crown_build_info, job)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, one: Panel) -> dict[str, Any]:
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": one.title,
        "description": one.told,
        "datasource": _SOURCE,
        "gridPos": {
            "x": number % _IN_A_ROW * _WIDTH,
            "y": number // _IN_A_ROW * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": _UNITS[one.unit], "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": expression.replace("$at", _SUITE).replace("$per", "$__rate_interval"),
                "legendFormat": legend,
                "range": True,
            }
            for place, (expression, legend) in enumerate(one.lines)
        ],
    }


def main(arguments: list[str]) -> int:
    """Writes the files, or checks them."""
    wanted = {
        name: json.dumps(board, indent=2, ensure_ascii=False) + "\n" for name, board in dashboards().items()
    }
    if "--check" not in arguments:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path in FOLDER.glob("*.json"):
            path.unlink()
        for name, text in wanted.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
        return 0
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    for name in wrong:
        print(
            f"dashboards: {name} is not what the tables give; run python -m tools.dashboards", file=sys.stderr
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
