"""What clients are told about who is on a topic, in the form of Phoenix: a state replaces all that they know, a diff
adds metas to it and takes metas away, by their phx_ref."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.realtime.presence.board import Change

STATE = "presence_state"
DIFF = "presence_diff"
COUNT = "presence_count"

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One channel on a topic. `at` is when it came, in microseconds; `meta` what is told of it, encoded or not."""

    at: float
    ref: str
    key: str
    meta: Any


def diff(changes: Iterable[Change]) -> Payload:
    """What changed, as clients take it."""
    joins: Payload = {}
    leaves: Payload = {}
    for change in changes:
        side = joins if change.record else leaves
        side.setdefault(change.key, {"metas": []})["metas"].append(change.meta)
    return {"joins": joins, "leaves": leaves}


def state(rows: Iterable[Row]) -> Payload:
    """Who is there, those who came first before the others."""
    found: Payload = {}
    for row in sorted(rows, key=lambda row: (row.at, row.ref)):
        found.setdefault(row.key, {"metas": []})["metas"].append(row.meta)
    return found


def apply(rows: dict[str, Row], payload: Mapping[str, Any]) -> None:
    """Does to `rows`, which are by phx_ref, what a client does when it hears this diff."""
    for key, presence in payload["joins"].items():
        for meta in presence["metas"]:
            # It came after all that were read, so it stands behind them.
            rows.setdefault(meta["phx_ref"], Row(float("inf"), meta["phx_ref"], key, meta))
    for presence in payload["leaves"].values():
        for meta in presence["metas"]:
            rows.pop(meta["phx_ref"], None)
