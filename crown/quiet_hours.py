"""Local time: when quiet hours are over, and when the next nine o'clock is. Pure.

Clocks are put forward and back. A local time that is skipped means the first moment after the gap; one that comes
twice means the later of the two, but for the start of quiet hours, which is the earlier: so nobody is woken in
between."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from crown.choices import Digest, QuietHours
from crown.notification.v1.types_pb2 import Rhythm

DAY = timedelta(days=1)
_HOUR_S = 3_600
# Quiet hours that follow one another without a break are looked through for so long.
_LONGEST = timedelta(days=8)


def minutes(text: str) -> int:
    """ "07:30" as minutes of the day."""
    hours, _, rest = text.partition(":")
    return int(hours) * 60 + int(rest)


def written(minute: int) -> str:
    """Minutes of the day as "07:30"."""
    return f"{minute // 60:02}:{minute % 60:02}"


@lru_cache(8_192)
def instant(zone: str, day: date, minute: int, *, first: bool = False) -> datetime:
    """The moment at which clocks in `zone` show this minute of this day. Skipped: the first moment after. Shown
    twice: the later, or with `first` the earlier."""
    place = ZoneInfo(zone)
    shown = datetime.combine(day, time(minute // 60, minute % 60))
    earlier, later = sorted(shown.replace(tzinfo=place, fold=fold).astimezone(UTC) for fold in (0, 1))
    if earlier == later or earlier.astimezone(place).replace(tzinfo=None) == shown:
        return earlier if first else later
    return _after_gap(place, earlier, later)


def _after_gap(place: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The moment, to the second, at which the clock was put forward between the two."""
    old = before.astimezone(place).utcoffset()
    while (span := int((after - before).total_seconds())) > 1:
        middle = before + timedelta(seconds=span // 2)
        if middle.astimezone(place).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def next_at(
    zone: str, minute: int, since: datetime, weekday: int | None = None, *, after: bool = False
) -> datetime:
    """The first moment from `since` on (`after`: past it) at which clocks show this minute; only on `weekday` where
    it is given."""
    # A zone that crosses the date line skips a whole day, so that two weeks are looked through.
    today = since.astimezone(ZoneInfo(zone)).date()
    for days in range(-1, 15):
        day = today + days * DAY
        if weekday is None or day.weekday() == weekday:
            found = instant(zone, day, minute)
            if found > since or (found == since and not after):
                return found
    raise AssertionError("every week has every weekday")


def window_end(digest: Digest, zone: str, moment: datetime) -> datetime:
    """When the digest goes out that what happens at `moment` is an item of."""
    match digest.every:
        case Rhythm.HOURLY:
            shift = (moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()).total_seconds()
            hour = (moment.timestamp() + shift) // _HOUR_S + 1
            return datetime.fromtimestamp(hour * _HOUR_S - shift, UTC)
        case Rhythm.WEEKLY:
            return next_at(zone, digest.at, moment, digest.weekday, after=True)
        case _:
            return next_at(zone, digest.at, moment, after=True)


def over(quiet_hours: Collection[QuietHours], zone: str, moment: datetime) -> datetime:
    """The first moment from `moment` on that is not quiet: `moment` itself where it is not."""
    return _over(tuple(quiet_hours), zone, moment)


# Of one turn of dispatch: many people have the same hours, and each is asked about for every channel.
@lru_cache(8_192)
def _over(quiet_hours: tuple[QuietHours, ...], zone: str, moment: datetime) -> datetime:
    free = moment
    while free - moment < _LONGEST:
        ends = [end for start, end in _around(quiet_hours, zone, free) if start <= free < end]
        if not ends:
            break
        free = max(ends)
    return free


def _around(
    quiet_hours: Collection[QuietHours], zone: str, moment: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Those that may hold `moment`: what began today or on the day before."""
    today = moment.astimezone(ZoneInfo(zone)).date()
    # Two days back: where clocks skip a day, hours that began before it end after it.
    for day in (today - 2 * DAY, today - DAY, today, today + DAY):
        for hours in quiet_hours:
            if day.weekday() in hours.weekdays:
                ends_on = day if hours.end > hours.start else day + DAY
                yield instant(zone, day, hours.start, first=True), instant(zone, ends_on, hours.end)
