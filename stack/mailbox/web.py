"""The HTTP side: what arrived, as JSON and as a page, and how the mailbox shall behave."""

from __future__ import annotations

import msgspec
from aiohttp import web

from stack import strict
from stack.mailbox import page, script
from stack.mailbox.letters import Letter, Letters
from stack.mailbox.reading import read
from stack.mailbox.script import Scripts
from stack.replies import check_names, json_reply, whole_number, wrong_reply

PAGE_LIMIT = 10_000
PAGE_ROWS = 200
_PARAMETERS = ("to", "notification_id", "limit", "offset")


class Desk:
    """Handlers over one mailbox."""

    def __init__(self, letters: Letters, scripts: Scripts) -> None:
        self._letters = letters
        self._scripts = scripts

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.page),
            web.get("/messages", self.messages),
            web.get("/messages/{id}", self.message),
            web.get("/messages/{id}/source", self.source),
            web.get("/script", self.pending),
            web.post("/script", self.script),
            web.post("/reset", self.reset),
            web.get("/healthz", self.health),
        ]

    async def page(self, _request: web.Request) -> web.Response:
        found = self._letters.find()
        newest = [read(letter) for letter in reversed(found[-PAGE_ROWS:])]
        text = page.render(newest, len(found))
        headers = {"Content-Security-Policy": page.POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(text=text, content_type="text/html", headers=headers)

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

    async def source(self, request: web.Request) -> web.Response:
        """The bytes as they came, as text that no browser takes for anything else."""
        headers = {"Content-Security-Policy": page.POLICY, "X-Content-Type-Options": "nosniff"}
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
        return json_reply({"forgotten": self._letters.clear()})

    async def health(self, _request: web.Request) -> web.Response:
        return json_reply({"status": "ok"})

    def _letter(self, request: web.Request) -> Letter:
        letter = self._letters.get(request.match_info["id"])
        if letter is None:
            raise web.HTTPNotFound(text='{"error":"no such message"}', content_type="application/json")
        return letter
