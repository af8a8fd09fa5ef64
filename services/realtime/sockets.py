"""Every open socket of this process: lets them in, watches them, and sends them away when it goes down."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import aiofastnet
from picows import WSAutoPingStrategy, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from crown import auth, logs, metrics, tls
from services.realtime import closecodes
from services.realtime.channel import Backend
from services.realtime.handshake import Admission, Handshake, Refused
from services.realtime.limits import Bucket, Limits, Tally
from services.realtime.listeners import BACKLOG
from services.realtime.origins import Origins
from services.realtime.people import People
from services.realtime.proxies import Proxies
from services.realtime.room import Encoding
from services.realtime.serializer import Serializer
from services.realtime.session import Session, TextFrames
from services.realtime.socket import Socket
from services.realtime.watched import Watched
from services.realtime.websocket import MESSAGE_MOST_BYTES, WebSocket, WebSocketFrames

log = logs.get(__name__)

# Seconds that a client gets to answer our close; a stalled one never would.
CLOSE_WAIT_S = 5.0
_HANDSHAKE_S = 5.0
_WATCH_PERIOD_S = 1.0
# Sockets looked at, or sent away, before others get their turn.
_SLICE = 500
# Bytes that a socket's reader starts with; it grows for who sends more.
_READ_BUFFER_BYTES = 2_048
# Seconds after which a client that was refused may come again.
_RATE_RETRY_S = 1
_ADDRESS_RETRY_S = 10


class Sockets:
    """The sockets of the process that is called `node`."""

    def __init__(
        self,
        node: str,
        backend: Backend,
        authenticator: auth.Authenticator,
        origins: Origins,
        people: People,
        *,
        limits: Limits,
        proxies: Proxies,
        idle_s: float = 60.0,
    ) -> None:
        self._backend = backend
        self._people = people
        self._proxies = proxies
        self._accepts = Bucket(limits.accepts)
        self._addresses = Tally(limits.per_address)
        self._pace = limits.messages
        # Sockets are called by the node and a number.
        self._names = (f"{node}.{number}" for number in itertools.count())
        self.handshake = Handshake(authenticator, origins, backend.spawn)
        self._idle_s = idle_s
        self._open: set[Watched] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._encodings: dict[Serializer, Encoding] = {}
        self._texts: dict[Serializer, Encoding] = {}
        self._server: asyncio.Server | None = None
        self._callers: frozenset[str] | None = None
        self._draining = False

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    async def listen(self, bound: socket.socket, shown: ssl.SSLContext | None = None) -> None:
        """Lets connections in, by TLS where there is something to show. Whoever listened before no longer does."""
        loop = asyncio.get_running_loop()
        former = self._server
        self._server = await aiofastnet.create_server(
            loop, self._protocol, sock=bound, backlog=BACKLOG, ssl=shown
        )
        if former is not None:
            former.close()

    def only(self, callers: frozenset[str]) -> None:
        """From here on, only who is called so by a certificate may come."""
        self._callers = callers

    async def watch(self) -> None:
        """Closes who is idle or whose token ended, until it is cancelled."""
        while True:
            await asyncio.sleep(min(_WATCH_PERIOD_S, self._idle_s / 4))
            for number, connection in enumerate(list(self._open)):
                self._look_at(connection)
                if number % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)

    def cut_off(self, whose: Callable[[auth.Principal], bool]) -> None:
        """Closes what some are connected by: their tokens are no longer good."""
        for connection in list(self._open):
            if whose(connection.principal):
                connection.close(closecodes.REVOKED)

    async def drain(self, most_s: float) -> None:
        """Lets nobody in any more and sends everybody away: in slices, so that they do not all come to the
        next node at once, and within `most_s` seconds."""
        self._draining = True
        if self._server is not None:
            self._server.close()
        ends = asyncio.get_running_loop().time() + most_s
        everybody = list(self._open)
        slices = max(1, math.ceil(len(everybody) / _SLICE))
        for start in range(0, len(everybody), _SLICE):
            for connection in everybody[start : start + _SLICE]:
                connection.close(closecodes.RESTART)
            await asyncio.sleep(min(0.1, most_s / 2 / slices))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(ends):
                await self._empty.wait()
        log.info("sockets_drained", sockets=len(everybody), cut_off=len(self._open))
        for connection in list(self._open):
            connection.abort()

    # -- letting in

    def know(self, certificate: Mapping[str, Any] | None) -> None:
        """Raises Refused where whoever is at the other end, by this certificate, is none of those who may come."""
        if self._callers is not None and not self._callers & (shown := tls.names(certificate)):
            log.warning("caller_refused", caller=tls.told(shown))
            raise Refused(403)

    def check(self, peer: str, forwarded: Sequence[str]) -> str:
        """The address of who comes, as its connections are counted. Raises Refused where it may not have one
        more, or nobody may at this moment."""
        if self._draining:
            raise Refused(503)
        if not self._accepts.take(time.monotonic()):
            raise Refused(503, _RATE_RETRY_S)
        client = self._proxies.client(peer, forwarded)
        if self._addresses.full(client):
            raise Refused(429, _ADDRESS_RETRY_S)
        return client

    def enter(self, admission: Admission, client: str) -> Session:
        """Lets in a client that polls. Raises Refused."""
        if self._draining:
            raise Refused(503)
        speaks = admission.serializer
        encoding = self._texts.setdefault(speaks, TextFrames(speaks))
        session = Session(next(self._names), encoding, client, self._pace)
        session.serve(Socket(admission.principal, speaks, session, self._backend))
        session.on_end(partial(self._gone, session))
        self._arrived(session)
        return session

    def _protocol(self) -> WSProtocol:
        # As the library's own server makes it, on the same transports; that would not tell who is at the other end.
        visit = _Visit(self._admit)
        visit.protocol = WSProtocol(
            host_port=None,
            ws_path=None,
            is_client_side=False,
            ws_listener_factory=visit,
            logger=_QUIET,
            disconnect_on_exception=True,
            websocket_handshake_timeout=_HANDSHAKE_S,
            enable_auto_ping=False,
            auto_ping_idle_timeout=None,
            auto_ping_reply_timeout=None,
            auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
            # A ping of the client shows that it is there, so it has to come through to us.
            enable_auto_pong=False,
            max_frame_size=MESSAGE_MOST_BYTES,
            extra_headers=None,
            read_buffer_init_size=_READ_BUFFER_BYTES,
        )
        return visit.protocol

    def _admit(self, request: WSUpgradeRequest, transport: Any) -> WSUpgradeResponseWithListener:
        # What the library does with an exception here would show its text to the client.
        try:
            self.know(transport.get_extra_info("peercert"))
            peer = transport.get_extra_info("peername")
            forwarded = request.headers.getall("X-Forwarded-For", [])
            client = self.check(str(peer[0]) if peer else "", forwarded)
            admission = self.handshake.admit(request.path.decode("latin-1"), request.headers)
        except Refused as refused:
            return _refusal(refused)
        except Exception as error:
            log.error("handshake_failed", exc_info=error)
            return _refusal(Refused(500))
        # Some browsers send "keep-alive, Upgrade", which the library does not take.
        if "upgrade" in request.headers.get("Connection", "").lower():
            request.headers["Connection"] = "upgrade"
        chosen = {"Sec-WebSocket-Protocol": admission.subprotocol} if admission.subprotocol else {}
        response = WSUpgradeResponse.create_101_response(chosen)
        return WSUpgradeResponseWithListener(response, self._enter(admission, client))

    def _enter(self, admission: Admission, client: str) -> WebSocket:
        speaks = admission.serializer
        encoding = self._encodings.setdefault(speaks, WebSocketFrames(speaks))
        opened = WebSocket(next(self._names), client, encoding, self._pace, self._arrived, self._gone)
        opened.serve(Socket(admission.principal, speaks, opened, self._backend))
        return opened

    def _arrived(self, connection: Watched) -> None:
        self._addresses.add(connection.client)
        self._open.add(connection)
        self._empty.clear()
        metrics.SOCKETS.set(len(self._open))
        self._people.arrive(connection)

    def _gone(self, connection: Watched) -> None:
        self._open.discard(connection)
        self._addresses.remove(connection.client)
        self._people.leave(connection)
        metrics.SOCKETS.set(len(self._open))
        if not self._open:
            self._empty.set()

    # -- watching

    def _look_at(self, connection: Watched) -> None:
        now = time.monotonic()
        if connection.closing_since is not None:
            if now - connection.closing_since > CLOSE_WAIT_S:
                connection.abort()
        elif now - connection.heard > self._idle_s:
            connection.close(closecodes.IDLE)
        elif connection.expires + auth.LEEWAY_S < time.time():
            connection.close(closecodes.EXPIRED)


class _Visit:
    """A connection that has not said yet what it wants."""

    __slots__ = ("_admit", "protocol")

    def __init__(self, admit: Callable[[WSUpgradeRequest, Any], WSUpgradeResponseWithListener]) -> None:
        self._admit = admit
        self.protocol: WSProtocol | None = None

    def __call__(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        """Decides, once the request is here."""
        assert self.protocol is not None
        return self._admit(request, self.protocol.transport.underlying_transport)


def _refusal(refused: Refused) -> WSUpgradeResponseWithListener:
    metrics.SOCKETS_REFUSED.labels(refused.status).inc()
    headers = {"Content-Length": "0", **refused.headers}
    response = WSUpgradeResponse.create_error_response(refused.status, None, headers)
    return WSUpgradeResponseWithListener(response, None)


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """The library's log: it tells of every connection, and keeps a logger for each. Only faults matter."""

    def isEnabledFor(self, level: int) -> bool:
        """Nothing is: that saves putting the words together."""
        del level
        return False

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """What all the others come to."""
        del level, msg, args
        if kwargs.get("exc_info"):
            log.error("socket_failed", exc_info=True)


_QUIET = _Quiet(logging.getLogger("picows"), {})
