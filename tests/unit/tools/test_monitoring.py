"""Alert rules, their tests, the runbook and the dashboards hold to each other and to the table of metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from crown import metrics
from stack.ports import DEFAULT_BASE, Ports
from stack.services import ROLES
from tools import dashboards, expressions, metrics_page

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "monitoring"
RULES = expressions.rules()
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
KNOWN = expressions.labels_of(expressions.recorded())
BOARDS = sorted((MONITORING / "grafana").glob("*.json"))


def scenarios() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.get("alert") or rule["record"]))
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    assert expressions.problems(rule["expr"], KNOWN) == []


@pytest.mark.parametrize(("where", "expression"), list(expressions.of_dashboards()))
def test_a_panel_asks_for_what_there_is(where: str, expression: str) -> None:
    assert expressions.problems(expression, KNOWN) == [], where


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("crown_nothing > 1", "crown_nothing: no such series"),
        ("rate(crown_handed_seconds[5m])", "crown_handed_seconds: no such series"),
        ('crown_ready{lane="bulk"}', "crown_ready: no label lane"),
        ("sum by (lane) (crown_sockets)", "no label lane"),
        ("crown_ready and on (lane) crown_sockets", "no label lane"),
        ('crown_sockets{le="1"}', "crown_sockets: no label le"),
    ],
)
def test_what_there_is_not_is_seen(expression: str, problem: str) -> None:
    assert expressions.problems(expression, KNOWN) == [problem]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_to_be_done(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


@pytest.mark.parametrize("name", ALERTS)
def test_a_summary_names_only_labels_that_the_alert_has(name: str) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", ALERTS[name]["annotations"]["summary"]))
    told = re.compile(rf'ALERTS\{{alertname="{name}", alertstate="firing", ([^}}]*)\}}')
    fires = [
        set(re.findall(r"(\w+)=", found[1]))
        for test in scenarios()
        for found in told.finditer(json.dumps(test).replace('\\"', '"'))
    ]
    assert fires, "no test lets it fire"
    assert named <= fires[0]


def test_the_runbook_has_a_part_for_each_alert_and_no_other() -> None:
    parts = (ROOT / "docs" / "runbook.md").read_text().split("\n## ")[1:]
    assert [part.partition("\n")[0] for part in parts] == list(ALERTS)
    for part in parts:
        name, _, text = part.partition("\n")
        assert f"*{ALERTS[name]['labels']['severity'].title()}.*" in text
        assert "\n- Look at: " in text
        assert "\n- Do: " in text


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_when_all_is_well_and_when_it_is_not(name: str) -> None:
    checks = [
        check
        for test in scenarios()
        if test["name"].partition(" ")[0] == name
        for check in test["promql_expr_test"]
    ]
    assert {check["expr"] for check in checks} == {'ALERTS{alertstate="firing"}'}
    assert {bool(check.get("exp_samples")) for check in checks} == {True, False}


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {name for _, one in expressions.of_dashboards() for name in re.findall(r"\w+", one)}
    for series in metrics.TABLE.entries:
        assert shown & set(series.served), series.name


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: str(path.stem))
def test_a_dashboard_is_one_that_grafana_takes(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert len(board["uid"]) <= 40
    assert board["title"]
    assert {"name": "source", "type": "datasource"}.items() <= board["templating"]["list"][0].items()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells
        taken |= cells
        assert panel["title"]
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${source}"}


def test_dashboards_have_names_of_their_own() -> None:
    titles = [json.loads(path.read_text())["title"] for path in BOARDS]
    assert len(set(titles)) == len(titles) == len(dashboards.dashboards())


def test_prometheus_is_pointed_at_every_process_of_the_stack() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    found = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    ports = Ports.at(DEFAULT_BASE)
    assert found == {f"crown-{role.name}": [f"127.0.0.1:{ports.metrics(role.name)}"] for role in ROLES}


def test_the_page_is_held_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics_page.main(["--check"]) == 0
    monkeypatch.setattr(metrics_page, "PAGE", tmp_path / "metrics.md")
    assert metrics_page.main(["--check"]) == 1
    metrics_page.main([])
    assert metrics_page.main(["--check"]) == 0
    metrics_page.PAGE.write_text(metrics_page.page().replace("crown_sockets", "crown_plugs"))
    assert metrics_page.main(["--check"]) == 1


def test_the_dashboards_are_held_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboards.main(["--check"]) == 0
    monkeypatch.setattr(dashboards, "FOLDER", tmp_path)
    assert dashboards.main(["--check"]) == 1
    dashboards.main([])
    assert dashboards.main(["--check"]) == 0
    (tmp_path / "crown-more.json").write_text("{}")
    assert dashboards.main(["--check"]) == 1
