"""The sandbox's own interface, for people and programs: the ledger, scripts, callbacks, reset, a phone that replies,
browsers that subscribe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from aiohttp import web

from stack import strict
from stack.replies import check_names, json_reply, whole_number, wrong_reply
from stack.sandbox import postman, preset, script
from stack.sandbox.callback import Callback
from stack.sandbox.ledger import Kind, Ledger, Query
from stack.sandbox.phone import Phone
from stack.sandbox.postman import Postman
from stack.sandbox.script import Name, Scripts
from stack.sandbox.subscriptions import Subscriptions
from stack.sandbox.web_push_crypto import decoded, public_key

PAGE_LIMIT = 100_000
_TEXT_FILTERS = ("provider", "notification_id", "delivery_id", "recipient")
_PARAMETERS = (*_TEXT_FILTERS, "kind", "after", "limit", "offset")
_CALLBACK_FILTERS = ("provider", "message_id", "delivery_id")
_LISTS = {Kind.EFFECT: "effects", Kind.REFUSAL: "refusals", None: "entries"}


class Reset(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /reset; an empty one resets every provider."""

    provider: Name | None = None


class Inbound(msgspec.Struct, forbid_unknown_fields=True, rename={"sender": "from"}):
    """The body of POST /twilio/inbound and /sns/inbound: a person texts, to whom texted last if `to` is left out."""

    sender: Annotated[str, msgspec.Meta(pattern=r"^\+[1-9][0-9]{6,14}\Z")]
    body: Annotated[str, msgspec.Meta(max_length=1_600)]
    to: str = ""


class Telling(Callback, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of POST /callbacks: one more callback about a message that was taken."""

    provider: Name
    message_id: str


class Subscribing(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of POST /web-push/subscriptions, which may be empty: as a browser is told to subscribe."""

    application_server_key: str = ""


_resets = msgspec.json.Decoder(Reset)
_inbounds = msgspec.json.Decoder(Inbound)
_tellings = msgspec.json.Decoder(Telling)
_subscribings = msgspec.json.Decoder(Subscribing)


class Control:
    """Handlers that read and steer; none of them is part of a provider."""

    def __init__(
        self,
        ledger: Ledger,
        scripts: Scripts,
        postman: Postman,
        phones: Mapping[str, Phone],
        subscriptions: Subscriptions,
    ) -> None:
        self._ledger = ledger
        self._scripts = scripts
        self._postman = postman
        self._phones = phones
        self._subscriptions = subscriptions

    async def ledger(self, request: web.Request) -> web.Response:
        """GET /ledger: oldest first; `kind=effect` unless asked for `refusal` or `all`."""
        try:
            query = _query(request.query)
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        entries, total = self._ledger.page(query)
        return json_reply({_LISTS[query.kind]: entries, "total": total})

    async def pending(self, _request: web.Request) -> web.Response:
        """GET /script: what is still queued, and the presets that there are."""
        return json_reply({"scripts": self._scripts.pending(), "presets": preset.choices()})

    async def script(self, request: web.Request) -> web.Response:
        """POST /script: one order, a list of them that begins now, or a preset."""
        body = await request.read()
        try:
            if preset.is_preset(body):
                orders = preset.read(body)
            elif body.lstrip()[:1] == b"[":
                orders = script.read_many(body)
            else:
                orders = [script.read(body)]
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        queued = {order.provider: self._scripts.apply(order) for order in orders}
        if len(orders) == 1:
            [(provider, count)] = queued.items()
            return json_reply({"provider": provider, "queued": count})
        return json_reply({"queued": queued})

    async def reset(self, request: web.Request) -> web.Response:
        """POST /reset: forgets the ledger, scripts and callbacks; of one provider, when the body names it."""
        try:
            provider = strict.decode(_resets, await request.read() or b"{}").provider
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        self._scripts.clear(provider)
        self._postman.clear(provider)
        for name, phone in self._phones.items():
            if provider in (None, name):
                phone.stopped.clear()
        return json_reply({"forgotten": self._ledger.clear(provider)})

    async def inbound(self, request: web.Request) -> web.Response:
        """POST /twilio/inbound and /sns/inbound: a person texts us, STOP for one. Answers what the gateway said."""
        phone = self._phones[request.path.split("/")[1]]
        try:
            text = strict.decode(_inbounds, await request.read())
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        status, replies = await phone.text(text.sender, text.to, text.body)
        return json_reply({"stopped": sorted(phone.stopped), "status": status, "replies": replies})

    async def callbacks(self, request: web.Request) -> web.Response:
        """GET /callbacks: what was told and is to be told, oldest first, the last of them."""
        try:
            check_names(request.query, (*_CALLBACK_FILTERS, "after", "limit"))
            query = postman.Query(
                after=whole_number(request.query, "after", 0, 2**53),
                limit=whole_number(request.query, "limit", 1_000, postman.KEPT),
                **{name: request.query[name] for name in _CALLBACK_FILTERS if name in request.query},
            )
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        return json_reply({"callbacks": self._postman.log(query)})

    async def tell(self, request: web.Request) -> web.Response:
        """POST /callbacks: tells something about a message that was taken before."""
        try:
            asked = strict.decode(_tellings, await request.read())
            script.check_callback(asked.provider, "", asked)
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        callback = Callback(asked.event, asked.after_s, asked.times, asked.signed)
        [own] = script.own_words(asked.provider, [callback])
        planned = self._postman.tell(asked.provider, asked.message_id, own)
        if not planned:
            problem = strict.Violation(strict.Fault.VALUE, ("message_id",), "no such message is remembered")
            return wrong_reply(problem)
        return json_reply({"planned": planned})

    async def subscribe(self, request: web.Request) -> web.Response:
        """POST /web-push/subscriptions: a browser subscribes; its PushSubscription, as JSON."""
        try:
            key = strict.decode(_subscribings, await request.read() or b"{}").application_server_key.rstrip(
                "="
            )
            if key:
                public_key(decoded(key))
        except strict.Violation as wrong:
            return wrong_reply(wrong)
        except ValueError:
            problem = "must be a point of P-256, uncompressed, in base64url"
            return wrong_reply(strict.Violation(strict.Fault.VALUE, ("applicationServerKey",), problem))
        found = self._subscriptions.new(key)
        endpoint = f"http://{request.host}/web-push/{found.id}"
        keys = {"p256dh": found.keys.p256dh, "auth": found.keys.auth}
        return json_reply({"endpoint": endpoint, "expirationTime": None, "keys": keys}, 201)

    async def unsubscribe(self, request: web.Request) -> web.Response:
        """DELETE /web-push/<id>: a browser unsubscribes; from then on its messages are answered with 410."""
        return json_reply({"ended": self._subscriptions.end(request.match_info["subscription"])})


async def health(_request: web.Request) -> web.Response:
    """GET /healthz."""
    return json_reply({"status": "ok"})


async def not_found(request: web.Request) -> web.Response:
    """Every other path or method."""
    problem = f"no such endpoint: {request.method} {request.path}"
    return json_reply({"error": problem, "endpoints": endpoints(request.app)}, 404)


def endpoints(app: web.Application) -> list[str]:
    """What can be called."""
    routes = ((r.method, r.resource.canonical) for r in app.router.routes() if r.resource)
    return sorted(f"{method} {path}" for method, path in routes if method in ("DELETE", "GET", "POST"))


def _query(asked: Mapping[str, str]) -> Query:
    """Raises strict.Violation naming the parameter."""
    check_names(asked, _PARAMETERS)
    kind = asked.get("kind", "effect")
    if kind not in ("effect", "refusal", "all"):
        raise strict.Violation(strict.Fault.VALUE, ("kind",), "must be effect, refusal or all")
    return Query(
        kind=None if kind == "all" else Kind(kind),
        after=whole_number(asked, "after", 0, 2**53),
        limit=whole_number(asked, "limit", 1_000, PAGE_LIMIT),
        offset=whole_number(asked, "offset", 0, 2**53),
        **{name: asked[name] for name in _TEXT_FILTERS if name in asked},
    )
