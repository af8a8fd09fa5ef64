"""The figures of fault runs as one table: on the terminal after each run, and in docs/reliability.md where they are
published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests import figures
from tests.fault.checker import Verdict
from tests.fault.lags import Lags

NAME = "faults"
COMMAND = "make fault"
_NOTHING = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run. What was not counted is None; a run that the checker has judged gives a `verdict`, another one what it
    counted itself. `detect_s` is from the fault until the suite said that something is away, `recover_s` from the
    fault until all was healthy again, `drain_s` from then until everything had ended."""

    fault: str
    seed: int | None = None
    rate: float | None = None
    verdict: Verdict | None = None
    asked: int | None = None
    accepted: int | None = None
    refused: int | None = None
    lost: int | None = None
    duplicates: Mapping[str, int] | None = None
    calls: float | None = None
    detect_s: float | None = None
    recover_s: float | None = None
    drain_s: float | None = None
    answers: Lags | None = None
    handed: Lags | None = None
    rss_mb: float | None = None
    descriptors: int | None = None
    # What went wrong beside the verdict, in a few words; empty: nothing.
    wrong: str = ""


COLUMNS = (
    "fault",
    "seed",
    "req/s",
    "asked",
    "accepted",
    "refused",
    "unclear",
    "asked again",
    "deliveries",
    "delivered",
    "suppressed",
    "dead letters",
    "parked unknown",
    "lost",
    "duplicates",
    "most per id",
    "calls per delivery",
    "detect s",
    "recover s",
    "drain s",
    "answer p50/p99 ms: before, during, after",
    "to the provider p50/p99 ms: before, during, after",
    "RSS MB / descriptors, most of a process",
    "verdict",
)
_DELIVERED = ("DELIVERED_TO_PROVIDER", "DELIVERED", "BOUNCED", "READ")


def cells(result: Result) -> tuple[str, ...]:
    """The row of one run."""
    verdict = result.verdict
    return (
        result.fault,
        _number(result.seed),
        _number(result.rate, 0),
        *_counts(result),
        _number(result.calls, 2),
        _number(result.detect_s, 1),
        _number(result.recover_s, 1),
        _number(result.drain_s, 1),
        _lags(result.answers),
        _lags(result.handed),
        f"{result.rss_mb:.0f} / {result.descriptors}" if result.rss_mb is not None else _NOTHING,
        f"{len(verdict.problems)} problems" if verdict and verdict.problems else result.wrong or "held",
    )


def render(results: Iterable[Result]) -> str:
    """The table as text, a line a run; columns that are empty in all are left out."""
    rows = [COLUMNS, *map(cells, results)]
    kept = [at for at in range(len(COLUMNS)) if any(row[at] != _NOTHING for row in rows[1:])]
    widths = {at: max(len(row[at]) for row in rows) for at in kept}
    return "\n".join(
        "  ".join(row[at].ljust(widths[at]) if at == 0 else row[at].rjust(widths[at]) for at in kept)
        for row in rows
    )


def publish(results: Iterable[Result]) -> None:
    """Puts the rows where docs/reliability.md is made from."""
    figures.publish(NAME, COLUMNS, map(cells, results), command=COMMAND)


def _counts(result: Result) -> tuple[str, ...]:
    """From `asked` to `most per id`."""
    verdict = result.verdict
    if verdict is None:
        return (
            _number(result.asked),
            _number(result.accepted),
            _number(result.refused),
            *([_NOTHING] * 7),
            _number(result.lost),
            _repeats(result.duplicates),
            _NOTHING,
        )
    return (
        str(verdict.asked),
        str(verdict.accepted),
        str(verdict.refused),
        str(verdict.unknown),
        str(verdict.retried),
        str(verdict.deliveries),
        str(sum(verdict.states.get(state, 0) for state in _DELIVERED)),
        str(verdict.states.get("SUPPRESSED", 0)),
        str(verdict.letters),
        str(verdict.states.get("UNKNOWN", 0)),
        str(verdict.lost),
        _repeats(verdict.repeats),
        str(verdict.most_effects),
    )


def _repeats(repeats: Mapping[str, int] | None) -> str:
    if repeats is None:
        return _NOTHING
    return ", ".join(f"{count} {channel}" for channel, count in sorted(repeats.items()) if count) or "0"


def _lags(lags: Lags | None) -> str:
    if lags is None or not any(one.count for one in (lags.before, lags.during, lags.after)):
        return _NOTHING
    return ", ".join(
        f"{one.p50_s * 1e3:.0f}/{one.p99_s * 1e3:.0f}" if one.count else "none"
        for one in (lags.before, lags.during, lags.after)
    )


def _number(value: float | None, digits: int = 0) -> str:
    return _NOTHING if value is None else f"{value:.{digits}f}"
