"""The long-polling transport, for networks that let no WebSocket through: what of a request is a session's, and what
is answered. phoenix.js reads statuses in bodies of HTTP 200; where it gets no such body, it connects again after a
pause. Phoenix lets every page read the answers; here it is the pages that may open a socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

import msgspec
from aiohttp import web
from aiohttp.web_exceptions import HTTPRequestEntityTooLarge

from crown import logs
from crown.errors import BusUnavailable
from services.realtime.handshake import Parameters, Refused, split
from services.realtime.sessions import GONE, OK, Sessions, Tokens
from services.realtime.sockets import Sockets

log = logs.get(__name__)

PATH = "/socket/longpoll"
METHODS = "GET, POST, OPTIONS"
# Of one request: its frames may have to pass the bus. phoenix.js sends up to 100 of them at once.
BODY_MOST_BYTES = 512 << 10
FRAMES_MOST = 100
_FORBIDDEN, _TOO_LARGE = 403, 413

_SESSION_HEADER = "X-Phoenix-LongPoll-Token"
_HEADERS = f"accept, content-type, x-phoenix-authtoken, {_SESSION_HEADER.lower()}"
# Seconds that a browser may remember what is allowed, and that answers under way get at the end.
_REMEMBER_S = 3_600
_SHUTDOWN_S = 2.0


class LongPoll:
    """The HTTP server of this transport."""

    def __init__(self, people: Sockets, sessions: Sessions) -> None:
        self._people = people
        self._sessions = sessions
        self._handshake = people.handshake
        server = web.Server(self._serve, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        self._site: web.SockSite | None = None

    async def listen(self, bound: socket.socket, shown: ssl.SSLContext | None = None) -> None:
        """Lets requests in, by TLS where there is something to show. Whoever listened before no longer does."""
        former = self._site
        if former is None:
            await self._runner.setup()
        self._site = web.SockSite(self._runner, bound, ssl_context=shown)
        await self._site.start()
        if former is not None:
            await former.stop()

    async def refuse(self) -> None:
        """Takes no more connections."""
        if self._site is not None:
            await self._site.stop()

    async def close(self) -> None:
        """Answers what is under way, and ends."""
        await self._runner.cleanup()

    # -- requests

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        try:
            response = await self._respond(request)
        except Refused as refused:
            response = web.Response(status=refused.status, headers=refused.headers)
        except BusUnavailable as error:
            log.warning("session_out_of_reach", why=error.message)
            response = web.Response(status=503)
        except HTTPRequestEntityTooLarge:
            response = web.Response(status=_TOO_LARGE)
        except Exception as error:
            log.error("longpoll_failed", exc_info=error)
            response = web.Response(status=500)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Vary"] = "Origin"
        return response

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        self._people.know(request.get_extra_info("peercert"))
        path, parameters = split(request.raw_path)
        if path != PATH:
            raise Refused(404)
        origin = request.headers.get("Origin")
        if not self._handshake.origins.allow(origin, request.headers.get("Host", "")):
            raise Refused(403)
        match request.method:
            case "GET":
                response = await self._poll(request, parameters)
            case "POST":
                response = await self._push(request, parameters)
            case "OPTIONS":
                response = _preflight()
            case _:
                raise Refused(400)
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
        return response

    async def _poll(self, request: web.BaseRequest, parameters: Parameters) -> web.Response:
        token = _session_token(parameters, request.headers)
        if token is not None:
            answer = await self._sessions.poll(token)
            if answer.status != GONE:
                return _answer(answer.status, token=token, messages=answer.messages)
        return await self._open(request, parameters)

    async def _open(self, request: web.BaseRequest, parameters: Parameters) -> web.Response:
        forwarded = request.headers.getall("X-Forwarded-For", [])
        client = self._people.check(request.remote or "", forwarded)
        named = [(name, value) for name, value in parameters if not Tokens.looks_like_one(value)]
        try:
            admission = await self._handshake.admit_session(named, request.headers)
        except Refused as refused:
            if refused.status == _FORBIDDEN:
                return _answer(_FORBIDDEN)
            raise
        if self._sessions.full:
            raise Refused(503)
        token = self._sessions.keep(self._people.enter(admission, client))
        return _answer(GONE, token=token, messages=[])

    async def _push(self, request: web.BaseRequest, parameters: Parameters) -> web.Response:
        token = _session_token(parameters, request.headers)
        if token is None:
            return _answer(GONE)
        if (request.content_length or 0) > BODY_MOST_BYTES:
            raise Refused(_TOO_LARGE)
        body = await request.read()
        if len(body) > BODY_MOST_BYTES:
            raise Refused(_TOO_LARGE)
        lines = body.splitlines() if request.content_type == "application/x-ndjson" else [body]
        if len(lines) > FRAMES_MOST:
            return _answer(_TOO_LARGE)
        answer = await self._sessions.push(token, [line for line in lines if line.strip()])
        return _answer(answer.status)


def _session_token(parameters: Parameters, headers: Mapping[str, str]) -> str | None:
    named = [value for name, value in parameters if name == "token" and Tokens.looks_like_one(value)]
    return headers.get(_SESSION_HEADER) or (named[-1] if named else None)


def _preflight() -> web.Response:
    allowed = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": _HEADERS,
        "Access-Control-Max-Age": str(_REMEMBER_S),
    }
    return web.Response(headers=allowed)


def _answer(status: int, **content: str | list[str]) -> web.Response:
    body = msgspec.json.encode({"status": status, **content})
    return web.Response(status=OK, body=body, content_type="application/json")
