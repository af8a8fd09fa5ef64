"""Where every call to a provider is settled: judged, scripted, recorded, then answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from aiohttp import web

from stack.hangup import hang_up
from stack.sandbox.callback import Callback
from stack.sandbox.ledger import Draft, Kind, Ledger
from stack.sandbox.postman import Postman
from stack.sandbox.provider import Accepted, Answer, Call, Provider, Refused
from stack.sandbox.script import WAIT_LIMIT_S, Behaviour, Scripts


class Counter:
    """Serves the providers from one ledger and one set of scripts; the postman hears of what was taken."""

    def __init__(self, ledger: Ledger, scripts: Scripts, postman: Postman) -> None:
        self._ledger = ledger
        self._scripts = scripts
        self._postman = postman

    async def serve(self, provider: Provider, request: web.Request) -> web.StreamResponse:
        """Settles one request; the entry is in the ledger before the first byte of the answer."""
        try:
            accepted = provider.accept(await _call(request))
        except Refused as refused:
            return self._refuse(provider, refused.answer, refused.draft)
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(provider, provider.failure(413), Draft())
        behaviour = self._scripts.take(provider.name, request.method, accepted.drafts)
        if behaviour is None:
            self._record(provider, accepted, accepted.answer.status, accepted.answer.body, accepted.effect)
            if accepted.effect and accepted.drafts:
                self._postman.expect(provider.name, accepted.drafts, accepted.message_id, None)
            return _respond(accepted.answer)
        return await self._misbehave(provider, accepted, behaviour, request)

    def _refuse(self, provider: Provider, answer: Answer, draft: Draft) -> web.Response:
        self._ledger.record(Kind.REFUSAL, provider.name, draft, answer.status, _as_json(answer.body))
        return _respond(answer)

    async def _misbehave(
        self, provider: Provider, accepted: Accepted, behaviour: Behaviour, request: web.Request
    ) -> web.StreamResponse:
        effect = behaviour.has_effect and accepted.effect
        if behaviour.hang or behaviour.reset:
            word = b"hung" if behaviour.hang else b"connection reset"
            self._record(provider, accepted, 0, word, effect, scripted=True)
            self._expect(provider, accepted, behaviour.callbacks, effect)
            await asyncio.sleep(WAIT_LIMIT_S if behaviour.hang else self._delay_s(behaviour))
            hang_up(request.transport)
            # Never sent: aiohttp wants a response, and finds the connection gone.
            return web.Response(status=500)
        answer = _scripted(provider, accepted.answer, behaviour)
        # Before the delay: a caller that gives up while it waits has caused the effect all the same.
        self._record(provider, accepted, answer.status, answer.body, effect, scripted=True)
        self._expect(provider, accepted, behaviour.callbacks, effect)
        await asyncio.sleep(self._delay_s(behaviour))
        return await _break_off(answer, request) if behaviour.cut else _respond(answer)

    def _delay_s(self, behaviour: Behaviour) -> float:
        return self._scripts.draw(behaviour.latency) if behaviour.latency else behaviour.delay_s

    def _expect(
        self, provider: Provider, accepted: Accepted, callbacks: Sequence[Callback] | None, effect: bool
    ) -> None:
        if effect and accepted.drafts:
            self._postman.expect(provider.name, accepted.drafts, accepted.message_id, callbacks)

    def _record(
        self,
        provider: Provider,
        accepted: Accepted,
        status: int,
        body: bytes,
        effect: bool,
        *,
        scripted: bool = False,
    ) -> None:
        kind = Kind.EFFECT if effect and accepted.drafts else Kind.REFUSAL
        # A question that was answered (a token, a list) is neither; one that a script spoilt is a refusal.
        drafts = accepted.drafts or ((Draft(),) if scripted and not effect else ())
        for draft in drafts:
            self._ledger.record(kind, provider.name, draft, status, _as_json(body), accepted.message_id)


async def _call(request: web.Request) -> Call:
    return Call(
        method=request.method,
        headers=request.headers,
        body=await request.read(),
        path=request.match_info,
        query=tuple(request.query.items()) if request.query_string else (),
    )


def _scripted(provider: Provider, own: Answer, behaviour: Behaviour) -> Answer:
    status = own.status if behaviour.status is None else behaviour.status
    base = own if status < 300 else provider.failure(status)
    headers = {**base.headers, **behaviour.headers}
    match behaviour.body:
        case msgspec.UNSET:
            return Answer(status, base.body, headers, base.content_type)
        case str(text):
            return Answer(status, text.encode(), headers, "text/html")
        case other:
            return Answer(status, msgspec.json.encode(other), headers)


def _respond(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body or None, headers=answer.headers)
    if answer.body and "Content-Type" not in answer.headers:
        response.content_type = answer.content_type
    return response


async def _break_off(answer: Answer, request: web.Request) -> web.StreamResponse:
    """Announces the whole body, sends half of it, and is gone. An answer without a body announces one."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = max(len(answer.body), 2)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2] or b"{")
    if request.transport is not None:
        # An orderly close: what was sent arrives, unlike with a reset.
        request.transport.close()
    return response


def _as_json(body: bytes) -> bytes:
    """The body as a JSON value: as it is where it is JSON, else as a string."""
    if body[:1] in (b"{", b"["):
        try:
            msgspec.json.decode(body, type=msgspec.Raw)
        except msgspec.DecodeError:
            pass
        else:
            return body
    return msgspec.json.encode(body.decode(errors="replace")) if body else b"null"
