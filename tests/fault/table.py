"""The figures of fault runs as one table."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fault.checker import Verdict


@dataclass(frozen=True, slots=True)
class Result:
    """One run: what was killed, how fast requests came, and how long things took. `restart_s` is from the kill
    until the supervisor found the process healthy again, `quiet_s` from the kill until everything had ended."""

    fault: str
    verdict: Verdict
    rate: float
    restart_s: float
    quiet_s: float


_HEAD = (
    "fault",
    "req/s",
    "asked",
    "accepted",
    "refused",
    "unclear",
    "asked again",
    "deliveries",
    "lost",
    "duplicates",
    "UNKNOWN",
    "frames missed",
    "restart s",
    "quiet s",
    "verdict",
)


def render(results: list[Result]) -> str:
    """The table as text, a line a run."""
    rows = [_HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _row(result: Result) -> tuple[str, ...]:
    verdict = result.verdict
    repeats = ", ".join(f"{count} {channel}" for channel, count in sorted(verdict.repeats.items()))
    return (
        result.fault,
        f"{result.rate:.0f}",
        str(verdict.asked),
        str(verdict.accepted),
        str(verdict.refused),
        str(verdict.unknown),
        str(verdict.retried),
        str(verdict.deliveries),
        str(verdict.lost),
        repeats or "0",
        str(verdict.states.get("UNKNOWN", 0)),
        str(verdict.missed_frames),
        f"{result.restart_s:.1f}",
        f"{result.quiet_s:.1f}",
        f"{len(verdict.problems)} problems" if verdict.problems else "held",
    )
