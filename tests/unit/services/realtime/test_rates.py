"""What processes told, as one: growth is summed and levels are not, and no restart makes a peak or a hole."""

from __future__ import annotations

from typing import Any

import pytest

from crown.vitals import Sample, Snapshot
from services.realtime.rates import FORGOTTEN_S, SILENT_S, Rates

ACCEPTED = "crown_accepted_total"
SOCKETS = "crown_sockets"
LAG = "crown_loop_lag_seconds_bucket"


def told(id: str, time_s: float, name: str = "", *samples: Sample) -> Snapshot:
    return Snapshot("ingest-api", f"host:{id}", id, 5.0, time_s, {name: list(samples)} if name else {})


def accepted(id: str, time_s: float, count: float, lane: str = "normal") -> Snapshot:
    return told(id, time_s, ACCEPTED, ({"lane": lane}, count))


def rows(summed: dict[str, Any]) -> list[str]:
    return [one["id"] for one in summed["processes"]]


def test_growth_is_summed_over_processes() -> None:
    rates = Rates()
    rates.take(accepted("a", 10.0, 100), 0.0)
    rates.take(accepted("b", 70.0, 7_000), 0.0)
    assert rates.sum(0.1)["rates"] == {}
    rates.take(accepted("a", 12.0, 110), 2.0)
    rates.take(accepted("b", 71.0, 7_001), 2.0)
    assert rates.sum(2.0)["rates"] == {ACCEPTED: [({"lane": "normal"}, 6.0)]}


def test_series_keep_their_labels_apart() -> None:
    rates = Rates()
    for time_s, count in ((0.0, 1.0), (1.0, 3.0)):
        samples = ({"lane": "normal"}, count), ({"lane": "bulk"}, count * 2), ({"lane": "critical"}, 5.0)
        rates.take(told("a", time_s, ACCEPTED, *samples), time_s)
    assert rates.sum(1.0)["rates"][ACCEPTED] == [({"lane": "normal"}, 2.0), ({"lane": "bulk"}, 4.0)]


def test_what_was_never_told_before_began_at_nothing() -> None:
    rates = Rates()
    rates.take(told("a", 0.0), 0.0)
    rates.take(accepted("a", 2.0, 4), 2.0)
    assert rates.sum(2.0)["rates"] == {ACCEPTED: [({"lane": "normal"}, 2.0)]}


def test_a_restart_makes_neither_a_peak_nor_a_hole() -> None:
    rates = Rates()
    rates.take(accepted("a", 0.0, 1_000), 0.0)
    rates.take(accepted("a again", 0.0, 900), 1.0)
    assert rates.sum(1.0)["rates"] == {}
    rates.take(accepted("a again", 1.0, 903), 2.0)
    assert rates.sum(2.0)["rates"][ACCEPTED] == [({"lane": "normal"}, 3.0)]


@pytest.mark.parametrize("time_s", [9.0, 10.0], ids=["older", "the same"])
def test_what_comes_late_or_twice_counts_once(time_s: float) -> None:
    rates = Rates()
    rates.take(accepted("a", 8.0, 0), 0.0)
    rates.take(accepted("a", 10.0, 8), 1.0)
    rates.take(accepted("a", time_s, 100), 1.0)
    assert rates.sum(1.0)["rates"][ACCEPTED] == [({"lane": "normal"}, 4.0)]


def test_levels_stay_with_their_process() -> None:
    rates = Rates()
    rates.take(told("b", 0.0, SOCKETS, ({}, 2.0)), 0.0)
    rates.take(told("a", 0.0, SOCKETS, ({}, 3.0)), 0.0)
    found = rates.sum(0.0)["processes"]
    assert [(one["place"], one["levels"]) for one in found] == [
        ("host:a", {SOCKETS: [({}, 3.0)]}),
        ("host:b", {SOCKETS: [({}, 2.0)]}),
    ]


def test_who_is_silent_counts_no_more_and_is_forgotten() -> None:
    rates = Rates()
    rates.take(accepted("a", 0.0, 0), 0.0)
    rates.take(accepted("a", 1.0, 5), 1.0)
    assert rates.sum(1.0 + SILENT_S)["rates"] != {}
    silent = rates.sum(1.1 + SILENT_S)
    assert (silent["rates"], rows(silent)) == ({}, ["a"])
    assert silent["processes"][0]["silent_s"] == 3.1
    assert rows(rates.sum(1.1 + FORGOTTEN_S)) == []


def test_after_a_rest_all_begins_anew() -> None:
    rates = Rates()
    rates.take(accepted("a", 0.0, 0), 0.0)
    rates.clear()
    rates.take(accepted("a", 3600.0, 1_000_000), 3600.0)
    assert rates.sum(3600.0)["rates"] == {}


@pytest.mark.parametrize(
    ("grown", "most"),
    [
        ({"0.01": 4, "0.1": 4, "+Inf": 4}, 0.01),
        ({"0.01": 3, "0.1": 4, "+Inf": 4}, 0.1),
        ({"0.01": 3, "0.1": 3, "+Inf": 4}, 0.1),
        ({}, None),
    ],
    ids=["fast", "once slow", "above all bounds", "nothing measured"],
)
def test_how_late_a_loop_was_at_most(grown: dict[str, float], most: float | None) -> None:
    rates = Rates()
    for time_s, times in ((0.0, 1), (1.0, 2)):
        samples = [({"le": bound}, float(times * count)) for bound, count in grown.items()]
        rates.take(told("a", time_s, LAG, *samples), time_s)
    summed = rates.sum(1.0)
    assert summed["processes"][0]["lag_s"] == most
    assert LAG not in summed["rates"]
