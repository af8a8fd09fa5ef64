"""Twilio's list of messages: newest first, filtered by To, From and DateSent, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from stack.sandbox.ledger import Entry, Kind, Ledger, Query
from stack.stamps import stamp

PAGE_LIMIT = 1_000
_FILTERS = ("To", "From", "DateSent", "DateSent<", "DateSent>")


class Unreadable(Exception):
    """A filter or page parameter that makes no sense; says which."""


def page(
    ledger: Ledger, account: str, query: Sequence[tuple[str, str]], show: Callable[[Entry], dict[str, object]]
) -> dict[str, object]:
    """The body of a list answer. Raises Unreadable."""
    asked = dict(query)
    filters = {name: asked[name] for name in _FILTERS if asked.get(name)}
    size = min(_number(asked, "PageSize", 50), PAGE_LIMIT) or 1
    number = _number(asked, "Page", 0)
    found = _after(_newest_first(ledger, filters), number, asked.get("PageToken", ""))
    shown, more = found[:size], len(found) > size
    base = f"/2010-04-01/Accounts/{account}/Messages.json?"

    def uri(page_number: int, **token: str) -> str:
        return base + urlencode({**filters, "PageSize": size, "Page": page_number, **token})

    return {
        "messages": [show(entry) for entry in shown],
        "page": number,
        "page_size": size,
        "start": number * size,
        "end": number * size + max(len(shown) - 1, 0),
        "uri": uri(number),
        "first_page_uri": uri(0),
        "next_page_uri": uri(number + 1, PageToken=f"PA{shown[-1].message_id}") if more else None,
        "previous_page_uri": uri(number - 1) if number == 1 else None,
    }


def _newest_first(ledger: Ledger, filters: dict[str, str]) -> list[Entry]:
    earliest, latest = _span(filters)
    query = Query(Kind.EFFECT, "twilio", recipient=filters.get("To"), limit=2**62)
    return [
        entry
        for entry in reversed(ledger.page(query)[0])
        if earliest <= entry.time < latest and filters.get("From", entry.sender) == entry.sender
    ]


def _after(entries: list[Entry], number: int, token: str) -> list[Entry]:
    """What follows the message that the token names; pages past the first need one."""
    if number == 0:
        return entries
    ids = [f"PA{entry.message_id}" for entry in entries]
    if token not in ids:
        raise Unreadable("PageToken is required for paging.")
    return entries[ids.index(token) + 1 :]


def _span(filters: dict[str, str]) -> tuple[str, str]:
    """The timestamps from which and before which a message was sent. Days are whole days in UTC."""
    earliest, latest = "", "~"
    for name in ("DateSent", "DateSent>"):
        if name in filters:
            earliest = max(earliest, stamp(_bounds(name, filters[name])[0].timestamp()))
    for name in ("DateSent", "DateSent<"):
        if name in filters:
            latest = min(latest, stamp(_bounds(name, filters[name])[1].timestamp()))
    return earliest, latest


def _bounds(name: str, text: str) -> tuple[datetime, datetime]:
    """The first instant of the named day or second, and the first after it."""
    try:
        if len(text) == len("2026-11-22"):
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
            return day, day + timedelta(days=1)
        second = datetime.fromisoformat(text.replace("Z", "+00:00")).replace(microsecond=0)
    except (ValueError, OverflowError):
        raise Unreadable(f"{name} is not a date: {text}") from None
    second = second if second.tzinfo is not None else second.replace(tzinfo=UTC)
    return second, second + timedelta(seconds=1)


def _number(asked: dict[str, str], name: str, default: int) -> int:
    text = asked.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Unreadable(f"{name} is not a number: {text}")
    return int(text)
