"""The sandbox's own interface, for people and programs: the ledger, scripts, reset, a phone that replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from aiohttp import web

from stack import strict
from stack.replies import check_names, json_reply, whole_number, wrong_reply
from stack.sandbox import script
from stack.sandbox.ledger import Kind, Ledger, Query
from stack.sandbox.script import Name, Scripts
from stack.sandbox.twilio import Twilio

PAGE_LIMIT = 100_000
_TEXT_FILTERS = ("provider", "notification_id", "delivery_id", "recipient")
_PARAMETERS = (*_TEXT_FILTERS, "kind", "limit", "offset")
_LISTS = {Kind.EFFECT: "effects", Kind.REFUSAL: "refusals", None: "entries"}


class Reset(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /reset; an empty one resets every provider."""

    provider: Name | None = None


class Inbound(msgspec.Struct, forbid_unknown_fields=True, rename={"sender": "from"}):
    """The body of POST /twilio/inbound: a person texts."""

    sender: Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}\Z")]
    body: str


_resets = msgspec.json.Decoder(Reset)
_inbounds = msgspec.json.Decoder(Inbound)


class Control:
    """Handlers that read and steer; none of them is part of a provider."""

    def __init__(self, ledger: Ledger, scripts: Scripts, twilio: Twilio) -> None:
        self._ledger = ledger
        self._scripts = scripts
        self._twilio = twilio

    async def ledger(self, request: web.Request) -> web.Response:
        """GET /ledger: oldest first; `kind=effect` unless asked for `refusal` or `all`."""
        try:
            query = _query(request.query)
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        entries, total = self._ledger.page(query)
        return json_reply({_LISTS[query.kind]: entries, "total": total})

    async def pending(self, _request: web.Request) -> web.Response:
        """GET /script: what is still queued."""
        return json_reply({"scripts": self._scripts.pending()})

    async def script(self, request: web.Request) -> web.Response:
        """POST /script."""
        try:
            order = script.read(await request.read())
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        return json_reply({"provider": order.provider, "queued": self._scripts.apply(order)})

    async def reset(self, request: web.Request) -> web.Response:
        """POST /reset: forgets the ledger and the scripts; of one provider, when the body names it."""
        try:
            provider = strict.decode(_resets, await request.read() or b"{}").provider
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        self._scripts.clear(provider)
        if provider in (None, "twilio"):
            self._twilio.stopped.clear()
        return json_reply({"forgotten": self._ledger.clear(provider)})

    async def inbound(self, request: web.Request) -> web.Response:
        """POST /twilio/inbound: a person texts us, STOP for one."""
        try:
            text = strict.decode(_inbounds, await request.read())
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        self._twilio.inbound(text.sender, text.body)
        return json_reply({"stopped": sorted(self._twilio.stopped)})


async def health(_request: web.Request) -> web.Response:
    """GET /healthz."""
    return json_reply({"status": "ok"})


async def not_found(request: web.Request) -> web.Response:
    """Every other path or method."""
    routes = ((r.method, r.resource.canonical) for r in request.app.router.routes() if r.resource)
    known = sorted(f"{method} {path}" for method, path in routes if method in ("GET", "POST"))
    return json_reply(
        {"error": f"no such endpoint: {request.method} {request.path}", "endpoints": known}, 404
    )


def _query(asked: Mapping[str, str]) -> Query:
    """Raises strict.Violation naming the parameter."""
    check_names(asked, _PARAMETERS)
    kind = asked.get("kind", "effect")
    if kind not in ("effect", "refusal", "all"):
        raise strict.Violation(strict.Fault.VALUE, ("kind",), "must be effect, refusal or all")
    return Query(
        kind=None if kind == "all" else Kind(kind),
        limit=whole_number(asked, "limit", 1_000, PAGE_LIMIT),
        offset=whole_number(asked, "offset", 0, 2**53),
        **{name: asked[name] for name in _TEXT_FILTERS if name in asked},
    )
