"""Times as the stack's servers write them: RFC 3339 in UTC with milliseconds, so that they sort as text."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(seconds: float) -> str:
    """The text for seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The inverse of `stamp`."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
