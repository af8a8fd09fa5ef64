"""What a provider asks for when it says "later": the Retry-After header in all its forms. Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
# More than anybody may ask for (crown/backoff.py bounds it again), so that a huge number stays a number.
_MOST_S = 86_400.0


def seconds(value: str | None, now: datetime) -> float | None:
    """Seconds to wait, from 0 to a day, by a Retry-After of seconds or an HTTP date; a date in the past is 0.
    None where there is none, or it is negative or makes no sense."""
    text = (value or "").strip()
    if _NUMBER.fullmatch(text):
        return min(float(text), _MOST_S)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return _bounded((_in_utc(moment) - now).total_seconds())


def until_epoch(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a header that names the second since 1970 at which to come back."""
    text = (value or "").strip()
    if not _NUMBER.fullmatch(text):
        return None
    return _bounded(float(text) - now.timestamp())


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _bounded(wait_s: float) -> float:
    return min(max(math.ceil(wait_s), 0.0), _MOST_S)
