"""The HTTP side: what arrived, as JSON and as a page, and how the mailbox shall behave."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec
from aiohttp import web

from stack import strict
from stack.mailbox import script, shown
from stack.mailbox.letters import Letter, Letters
from stack.mailbox.reading import Glance, glance, read
from stack.mailbox.script import Scripts
from stack.replies import check_names, json_reply, whole_number, wrong_reply

PAGE_LIMIT = 10_000
# How far back a search looks.
SEARCHED_MOST = 5_000
_PARAMETERS = ("to", "notification_id", "limit", "offset")
_PAGE = Path(__file__).parent / "page"


class Desk:
    """Handlers over one mailbox."""

    def __init__(self, letters: Letters, scripts: Scripts) -> None:
        self._letters = letters
        self._scripts = scripts
        # By the letter itself, which never changes: the page asks every other second.
        self._glance = lru_cache(SEARCHED_MOST)(glance)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.page),
            web.get("/mailbox.css", self.page),
            web.get("/mailbox.js", self.page),
            web.get("/letters", self.letters),
            web.get("/messages", self.messages),
            web.get("/messages/{id}", self.message),
            web.get("/messages/{id}/html", self.html),
            web.get("/messages/{id}/source", self.source),
            web.get("/script", self.pending),
            web.post("/script", self.script),
            web.post("/reset", self.reset),
            web.get("/healthz", self.health),
        ]

    async def page(self, request: web.Request) -> web.FileResponse:
        """The page and what belongs to it."""
        name = request.path.lstrip("/") or "mailbox.html"
        return web.FileResponse(_PAGE / name, headers=shown.PAGE_HEADERS)

    async def letters(self, request: web.Request) -> web.Response:
        """What the page lists, newest first; `search` is a part of a recipient or a subject."""
        asked = request.query
        try:
            check_names(asked, ("search", "limit"))
            limit = whole_number(asked, "limit", 100, PAGE_LIMIT)
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        found = self._letters.find()
        return json_reply(
            {"letters": self._search(found, asked.get("search", ""), limit), "total": len(found)}
        )

    def _search(self, letters: list[Letter], search: str, limit: int) -> list[Glance]:
        wanted = search.casefold()
        found: list[Glance] = []
        for letter in reversed(letters[-SEARCHED_MOST:]):
            if len(found) >= limit:
                break
            seen = self._glance(letter)
            if wanted in f"{' '.join(seen.to)} {seen.subject}".casefold():
                found.append(seen)
        return found

    async def messages(self, request: web.Request) -> web.Response:
        """Oldest first; `to` is a recipient of the envelope."""
        asked = request.query
        try:
            check_names(asked, _PARAMETERS)
            limit = whole_number(asked, "limit", 100, PAGE_LIMIT)
            offset = whole_number(asked, "offset", 0, 2**53)
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        found = self._letters.find(asked.get("to"), asked.get("notification_id"))
        shown = [read(letter) for letter in found[offset : offset + limit]]
        return json_reply({"messages": shown, "total": len(found)})

    async def message(self, request: web.Request) -> web.Response:
        """One letter with its full source."""
        letter = self._letter(request)
        text = letter.data.decode(errors="replace")
        return json_reply({**msgspec.to_builtins(read(letter)), "source": text})

    async def html(self, request: web.Request) -> web.Response:
        """The HTML part, of which nothing runs, however it is opened; `pictures` lets it load those."""
        letter = self._letter(request)
        headers = shown.headers(pictures=request.query.get("pictures") == "1")
        return web.Response(text=shown.html(read(letter).html), content_type="text/html", headers=headers)

    async def source(self, request: web.Request) -> web.Response:
        """The bytes as they came, as text that no browser takes for anything else."""
        headers = shown.headers(pictures=False)
        return web.Response(body=self._letter(request).data, content_type="text/plain", headers=headers)

    async def pending(self, _request: web.Request) -> web.Response:
        return json_reply({"scripts": self._scripts.pending()})

    async def script(self, request: web.Request) -> web.Response:
        try:
            order = script.read(await request.read())
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        return json_reply({"queued": self._scripts.apply(order)})

    async def reset(self, _request: web.Request) -> web.Response:
        """Throws away the mail and the scripts."""
        self._scripts.clear()
        self._glance.cache_clear()
        return json_reply({"forgotten": self._letters.clear()})

    async def health(self, _request: web.Request) -> web.Response:
        return json_reply({"status": "ok"})

    def _letter(self, request: web.Request) -> Letter:
        letter = self._letters.get(request.match_info["id"])
        if letter is None:
            raise web.HTTPNotFound(text='{"error":"no such message"}', content_type="application/json")
        return letter
