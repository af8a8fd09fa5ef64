"""How a browser is let at mails: the page may run its own script and nothing else, a mail may run nothing at all."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
PAGE_HEADERS: Mapping[str, str] = {
    **_SAFE,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
}
_HEAD = re.compile(r"<head(\s[^>]*)?>", re.IGNORECASE)
# Links open beside the page, and do not say where they were.
_BASE = '<base target="_blank">'


def headers(*, pictures: bool) -> dict[str, str]:
    """Those of a mail's HTML. `sandbox` holds where it is opened by itself, too."""
    images = "data: https: http:" if pictures else "data:"
    return {
        **_SAFE,
        "Content-Security-Policy": f"default-src 'none'; style-src 'unsafe-inline'; img-src {images}; "
        "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox",
    }


def html(text: str) -> str:
    """The HTML of a mail, as it is but for where its links open."""
    found = _HEAD.search(text)
    return f"{text[: found.end()]}{_BASE}{text[found.end() :]}" if found else f"{_BASE}{text}"
