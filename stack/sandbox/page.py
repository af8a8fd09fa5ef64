"""The page at the root: what arrived and what is told of it, live; buttons that break things; a phone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from stack import strict
from stack.replies import check_names, json_reply, whole_number, wrong_reply
from stack.sandbox import postman, preset
from stack.sandbox.callback import EVENTS, words
from stack.sandbox.control import endpoints
from stack.sandbox.ledger import Ledger, Query
from stack.sandbox.phone import Phone
from stack.sandbox.postman import Postman
from stack.sandbox.script import Scripts

ROWS = 200
"""Entries and callbacks that the page shows at most."""

_FOLDER = Path(__file__).with_name("web")
_TYPES = {"sandbox.css": "text/css", "sandbox.js": "text/javascript"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """Handlers of the page; what it does goes through the controls, as for everybody."""

    def __init__(
        self, ledger: Ledger, scripts: Scripts, postman: Postman, phones: Mapping[str, Phone]
    ) -> None:
        self._ledger = ledger
        self._scripts = scripts
        self._postman = postman
        self._phones = phones

    async def root(self, request: web.Request) -> web.StreamResponse:
        """GET /: the page for browsers, the list of endpoints for programs."""
        if "text/html" not in request.headers.get("Accept", ""):
            return json_reply({"name": "sandbox", "endpoints": endpoints(request.app)})
        text = (_FOLDER / "sandbox.html").read_text(encoding="utf-8")
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """GET /page/…: what the page loads."""
        name = request.match_info["file"]
        if name not in _TYPES:
            return json_reply({"error": f"no such file: {name}"}, 404)
        text = (_FOLDER / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=_TYPES[name], headers=_HEADERS)

    async def overview(self, request: web.Request) -> web.Response:
        """GET /overview?after=…: what the page shows, of entries only those that it does not have yet."""
        try:
            check_names(request.query, ("after",))
            after = whole_number(request.query, "after", 0, 2**53)
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        entries, counts = self._ledger.newest(Query(kind=None, after=after), ROWS)
        return json_reply(
            {
                "entries": entries,
                "counts": counts,
                "callbacks": self._postman.log(postman.Query(limit=ROWS)),
                "scripts": self._scripts.pending(),
                "presets": preset.choices(),
                "events": {provider: words(provider) for provider in EVENTS},
                "stopped": {name: sorted(phone.stopped) for name, phone in self._phones.items()},
            }
        )
