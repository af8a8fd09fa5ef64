"""When a schedule is due. Pure. What happens where clocks change is cronsim's way, which is that of Debian's cron: a
time that is skipped comes at the change, one that comes twice counts once, and what is due every hour is due in each
of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from crown import zones
from crown.errors import Violation

_FIELDS = 5
SHOWN = 5
_A_SECOND = timedelta(seconds=1)


def problems(cron: str, time_zone: str, present: datetime) -> list[Violation]:
    """What is wrong with the two; empty where they are good."""
    broken = zones.problem(time_zone, "time_zone")
    if broken is not None:
        return [broken]
    try:
        found = _next(cron, time_zone, present)
    except CronSimError as error:
        what = f"must be minute, hour, day of month, month and day of week, such as 0 9 * * MON-FRI ({error})"
        return [Violation("cron", what, "cron")]
    if next(found, None) is None:
        return [Violation("cron", "must come to pass some day", "cron")]
    return []


def after(cron: str, time_zone: str, present: datetime) -> list[datetime]:
    """The next times, up to 5, in UTC, later than `present`."""
    return list(islice(_next(cron, time_zone, present), SHOWN))


def missed(
    cron: str, time_zone: str, due_time: datetime, present: datetime, grace: timedelta
) -> datetime | None:
    """The time to send for at `present`, when `due_time` is the first that nothing was sent for: the latest one that
    has passed and is not older than `grace`. None where all are older."""
    begin = max(due_time, present - grace)
    latest = None
    for moment in _next(cron, time_zone, begin - _A_SECOND):
        if moment > present:
            break
        if moment >= begin:
            latest = moment
    return latest


def _next(cron: str, time_zone: str, present: datetime) -> Iterator[datetime]:
    if len(cron.split()) != _FIELDS:
        raise CronSimError("Wrong number of fields")
    local = present.astimezone(ZoneInfo(time_zone or "UTC"))
    return (moment.astimezone(UTC) for moment in CronSim(cron, local))
