"""Reads the expressions of alert rules and dashboards, as far as names and labels go: what they ask for has to be in
the table of crown/metrics.py. That they are PromQL is for promtool to say; `python -m tools.expressions` prints the
dashboards' expressions as rules that it can check."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from crown import metrics

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "monitoring" / "alerts.yaml"
DASHBOARDS = ROOT / "monitoring" / "grafana"

# What Prometheus itself adds.
ADDED = {"job", "instance"}
FOREIGN: Mapping[str, set[str]] = {"up": set()}
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\}|\()?")
_MATCHER = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)")
_GROUP = re.compile(rf"\b(?:{'|'.join(_GROUPING)})\s*\(([^)]*)\)")


def labels_of(recorded: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The labels that each sample can have, by its name; `recorded` are those that rules make."""
    found = {**FOREIGN, **recorded}
    for name, series in metrics.TABLE.samples().items():
        buckets = {"le"} if name.endswith("_bucket") else set()
        found[name] = {label.name for label in series.labels} | buckets
    return found


def problems(expression: str, known: Mapping[str, set[str]]) -> list[str]:
    """What `expression` asks for that there is not."""
    plain = _RANGE.sub("", _TEXT.sub('""', expression))
    found, seen = [], set(ADDED)
    for name, rest in _SELECTOR.findall(_GROUP.sub(" ", plain)):
        if rest == "(" or name in _WORDS or name in _GROUPING or re.fullmatch(r"[0-9.]*[smhdwy]", name):
            continue
        if name not in known:
            found.append(f"{name}: no such series")
            continue
        seen |= known[name]
        found += [
            f"{name}: no label {label}"
            for label in _MATCHER.findall(rest)
            if label not in known[name] | ADDED
        ]
    for group in _GROUP.findall(plain):
        found += [f"no label {label}" for label in re.findall(r"\w+", group) if label not in seen]
    return found


def rules() -> list[dict[str, Any]]:
    """The rules, in their order."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def recorded() -> dict[str, set[str]]:
    """The labels of what rules record: those that they take together by."""
    found = {}
    for rule in rules():
        if "record" in rule:
            first = _GROUP.search(rule["expr"])
            found[rule["record"]] = set(re.findall(r"\w+", first[1])) if first else set()
    return found


def of_dashboards() -> Iterator[tuple[str, str]]:
    """Every expression of the dashboards with where it stands, variables put in."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                plain = target["expr"].replace("$__rate_interval", "5m").replace("$job", ".+")
                yield f"{path.stem} {panel['title']}", plain


def main() -> int:
    """Prints the dashboards' expressions as recording rules."""
    made = [{"record": f"panel:{number}", "expr": one} for number, (_, one) in enumerate(of_dashboards())]
    yaml.safe_dump({"groups": [{"name": "dashboards", "rules": made}]}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
