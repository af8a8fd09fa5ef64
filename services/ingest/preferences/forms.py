"""What a person chose, as the contract writes it: read, checked and written. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from crown import choices as rules
from crown import quiet_hours, validation, zones
from crown.catalogue import CATEGORIES
from crown.choices import LOUD, Cap, Choices, Digest, QuietHours
from crown.clock import timestamp
from crown.errors import Violation
from crown.notification.v1 import preference_pb2 as pb
from crown.notification.v1.types_pb2 import Category, Rhythm, Weekday
from crown.preferences import Kept
from crown.subjects import CHANNELS

_WEEK = 7 * 1_440
_EVERY_DAY = frozenset(range(7))
_CHANNEL_OF = {name: value for value, name in CHANNELS.items()}
_CATEGORY_OF = {name: value for value, name in CATEGORIES.items()}


def choices(preferences: pb.NotificationPreferences) -> Choices:
    """What was chosen, and only that: a later change of a default reaches who did not choose."""
    return Choices(
        {
            category: {field.name: value for field, value in channels.ListFields()}
            for category, channels in preferences.categories.items()
        },
        preferences.all_off,
        tuple(_quiet_hours(hours) for hours in preferences.quiet_hours),
        preferences.time_zone,
        preferences.locale,
        {
            category: {field.name: _digest(digest) for field, digest in channels.ListFields()}
            for category, channels in preferences.digests.items()
        },
        tuple(
            Cap(CATEGORIES.get(cap.category, ""), CHANNELS[cap.channel], cap.most, cap.per)
            for cap in preferences.caps
        ),
    )


def _quiet_hours(hours: pb.QuietHours) -> QuietHours:
    weekdays = frozenset(day - 1 for day in hours.weekdays) or _EVERY_DAY
    return QuietHours(weekdays, quiet_hours.minutes(hours.start), quiet_hours.minutes(hours.end))


def _digest(digest: pb.Digest) -> Digest:
    at = quiet_hours.minutes(digest.at) if digest.at else 0
    return Digest(digest.every, at, max(0, digest.weekday - 1))


# -- what is wrong


def problems(preferences: pb.NotificationPreferences) -> list[Violation]:
    """What names a zone that there is not, or contradicts itself; the latter only where the rules in the proto are
    kept: before that, a time is no time, and there may be too many of them."""
    zone = zones.problem(preferences.time_zone, "preferences.time_zone")
    found = [zone] if zone else []
    if validation.violations(preferences):
        return found
    return [
        *found,
        *_quiet_problems(preferences),
        *_digest_problems(preferences),
        *_cap_problems(preferences),
    ]


def _quiet_problems(preferences: pb.NotificationPreferences) -> Iterator[Violation]:
    field = "preferences.quiet_hours"
    for number, hours in enumerate(preferences.quiet_hours):
        if hours.start == hours.end:
            yield Violation(f"{field}[{number}].end", "must not be the start", "quiet_hours")
            return
    quiet = bytearray(_WEEK)
    for one in map(_quiet_hours, preferences.quiet_hours):
        for day in one.weekdays:
            for minute in range((one.end - one.start) % 1_440):
                quiet[(day * 1_440 + one.start + minute) % _WEEK] = 1
    if all(quiet):
        yield Violation(field, "must leave some of the week; all_off turns everything off", "quiet_hours")


def _digest_problems(preferences: pb.NotificationPreferences) -> Iterator[Violation]:
    for category, channels in preferences.digests.items():
        for channel, digest in channels.ListFields():
            field = f"preferences.digests['{category}'].{channel.name}"
            timed = digest.every in (Rhythm.DAILY, Rhythm.WEEKLY)
            weekly = digest.every == Rhythm.WEEKLY
            if timed != bool(digest.at):
                yield Violation(f"{field}.at", "goes with DAILY and WEEKLY, and not without", "digest")
            if weekly != bool(digest.weekday):
                yield Violation(f"{field}.weekday", "goes with WEEKLY, and not without", "digest")


def _cap_problems(preferences: pb.NotificationPreferences) -> Iterator[Violation]:
    seen = set()
    for number, cap in enumerate(preferences.caps):
        place = (cap.category, cap.channel, cap.per)
        if place in seen:
            words = "must be the only one for its category, channel and span"
            yield Violation(f"preferences.caps[{number}]", words, "cap")
        seen.add(place)


# -- parts of it


def path_problem(path: str) -> bool:
    """Whether `path` names no part of the preferences that can be changed."""
    top, *below = path.split(".")
    match top:
        case "all_off" | "quiet_hours" | "time_zone" | "locale" | "caps":
            return bool(below)
        case "categories" | "digests":
            channels = _CHANNEL_OF if top == "categories" else LOUD
            known = (_CATEGORY_OF, channels)
            return len(below) > 2 or any(word not in words for word, words in zip(below, known, strict=False))
        case _:
            return True


def changed(kept: Choices, given: Choices, paths: list[str]) -> Choices:
    """`kept`, with the parts that `paths` name as they are in `given`."""
    parts: dict[str, Any] = {name: getattr(kept, name) for name in Choices.__slots__}
    for path in paths:
        top, *below = path.split(".")
        parts[top] = _merged(parts[top], getattr(given, top), below)
    return Choices(**parts)


def _merged(old: Any, new: Any, below: list[str]) -> Any:
    """`new` in the place below `old` that the words lead to; what is not in it is taken away there."""
    if not below:
        return new
    word, *rest = below
    there = dict(old)
    inner = _merged(old.get(word, {}), new.get(word, {}), rest) if rest else new.get(word)
    if inner is None or inner == {}:
        there.pop(word, None)
    else:
        there[word] = inner
    return there


# -- written


def fields(user_id: str, kept: Kept, zone: str, moment: datetime) -> Mapping[str, Any]:
    """The fields of an answer; `zone` is the contact's."""
    chosen = kept.choices
    spelled = rules.spelled_out(chosen).items()
    return {
        "user_id": user_id,
        "categories": {name: pb.ChannelPreferences(**channels) for name, channels in spelled},
        "update_time": timestamp(kept.update_time),
        "all_off": chosen.all_off,
        "quiet_hours": [_quiet_hours_written(hours) for hours in chosen.quiet_hours],
        "time_zone": chosen.time_zone,
        "locale": chosen.locale,
        "digests": {
            category: pb.ChannelDigests(
                **{channel: _digest_written(digest) for channel, digest in channels.items()}
            )
            for category, channels in chosen.digests.items()
        },
        "caps": [
            pb.FrequencyCap(
                category=_CATEGORY_OF.get(cap.category, Category.CATEGORY_UNSPECIFIED),
                channel=_CHANNEL_OF[cap.channel],
                most=cap.most,
                per=cap.per,
            )
            for cap in chosen.caps
        ],
        "etag": kept.etag,
        "effective": list(_effective(chosen, chosen.time_zone or zone or "UTC", moment)),
    }


def _quiet_hours_written(hours: QuietHours) -> pb.QuietHours:
    weekdays = [] if hours.weekdays == _EVERY_DAY else [_weekday(day) for day in sorted(hours.weekdays)]
    start, end = quiet_hours.written(hours.start), quiet_hours.written(hours.end)
    return pb.QuietHours(weekdays=weekdays, start=start, end=end)


def _weekday(day: int) -> Weekday.Type.ValueType:
    return Weekday.Type.ValueType(day + 1)


def _digest_written(digest: Digest) -> pb.Digest:
    timed = digest.every in (Rhythm.DAILY, Rhythm.WEEKLY)
    return pb.Digest(
        every=digest.every,
        at=quiet_hours.written(digest.at) if timed else "",
        weekday=_weekday(digest.weekday) if digest.every == Rhythm.WEEKLY else Weekday.WEEKDAY_UNSPECIFIED,
    )


def _effective(chosen: Choices, zone: str, moment: datetime) -> Iterator[pb.EffectivePreference]:
    over = quiet_hours.over(chosen.quiet_hours, zone, moment)
    for category, name in CATEGORIES.items():
        for channel, on in CHANNELS.items():
            refused = rules.why_not(chosen, name, on)
            digest = rules.digest(chosen, name, on)
            quiet = over > moment and on in LOUD and category != Category.SECURITY
            yield pb.EffectivePreference(
                category=category,
                channel=channel,
                on=not refused,
                why=refused or _why(chosen, name, on),
                digest=_digest_written(digest) if digest and not refused else None,
                quiet_until=timestamp(over) if quiet and not refused else None,
            )


def _why(chosen: Choices, category: str, channel: str) -> str:
    if category == "security":
        return "SECURITY"
    return "CHOSEN" if channel in chosen.categories.get(category, {}) else "DEFAULT"
