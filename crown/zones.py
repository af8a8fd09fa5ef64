"""Time zones by their IANA names."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

from crown.errors import Violation


def problem(name: str, field: str) -> Violation | None:
    """What is wrong with `name`, which stands in `field`; None where it is a zone, or empty."""
    if not name or name in _zones():
        return None
    return Violation(field, "must be an IANA time zone, such as Europe/Berlin", "zone")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
