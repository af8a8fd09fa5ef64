"""Which pages may open a socket. Browsers name the page's origin and cannot be made to lie about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_ENTRY = re.compile(r"https?://(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?")
# As browsers write it. Who reads addresses takes more for one: a path behind it, tabs and line ends in it.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Origins:
    """The pages that may connect; none listed means those of the same host."""

    listed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> Origins:
        """From a comma-separated list. Raises ValueError where an entry is no origin."""
        entries = {part.strip().lower().rstrip("/") for part in text.split(",") if part.strip()}
        if not all(entry == "*" or _ENTRY.fullmatch(entry) for entry in entries):
            raise ValueError("must be origins such as https://app.example.org or https://*.example.org, or *")
        return cls(frozenset(entries))

    def allow(self, origin: str | None, host: str) -> bool:
        """True where a page of `origin` may connect to `host`, both as their headers say; a program sends
        no origin."""
        if origin is None or "*" in self.listed:
            return True
        origin = origin.lower()
        if self.listed:
            return origin in self.listed or _wildcard(origin) in self.listed
        return _ORIGIN.fullmatch(origin) is not None and _name(origin) == _name(f"//{host.lower()}")


def _wildcard(origin: str) -> str:
    scheme, _, rest = origin.partition("://")
    return f"{scheme}://*.{rest.partition('.')[2]}"


def _name(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""
