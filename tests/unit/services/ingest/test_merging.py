"""Rows and broadcasts on one list: every entry once, in order, on whatever page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.inbox.merging import merged, place, rows_before

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
# Few different times, so that ids often decide.
_ENTRIES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40)


def entry(number: int, seconds: int) -> dict[str, Any]:
    return {"create_time": _BEGIN + timedelta(seconds=seconds), "notification_id": f"n{number:03}"}


@given(_ENTRIES, st.integers(1, 7))
def test_pages_hold_every_entry_once_newest_first(given: list[tuple[int, bool]], limit: int) -> None:
    entries = [(entry(number, seconds), is_row) for number, (seconds, is_row) in enumerate(given)]
    rows = sorted((one for one, is_row in entries if is_row), key=place, reverse=True)
    broadcasts = [one for one, is_row in entries if not is_row]
    whole = sorted((one for one, _ in entries), key=place, reverse=True)
    for skip in range(0, len(whole) + limit, limit):
        before = rows_before(skip, len(broadcasts))
        read = rows[before : before + skip - before + limit + 1]
        assert merged(read, broadcasts, skip, limit + 1) == whole[skip : skip + limit + 1]
