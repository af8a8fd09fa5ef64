"""Trace context (W3C traceparent), carried from the caller over the bus to the provider."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar

HEADER = "traceparent"
_FORM = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[str] = ContextVar("traceparent", default="")


def adopt(traceparent: str | None) -> None:
    """Makes `traceparent` the context of this task; one that is missing or malformed starts a new trace."""
    _current.set(traceparent if traceparent and _FORM.fullmatch(traceparent) else fresh())


def fresh() -> str:
    """A new, unsampled trace."""
    raw = os.urandom(24).hex()
    return f"00-{raw[:32]}-{raw[32:]}-00"


def current() -> str:
    """The context of this task; begins one where there is none."""
    found = _current.get()
    if not found:
        found = fresh()
        _current.set(found)
    return found
