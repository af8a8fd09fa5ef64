"""The long-poll sessions of all processes, as any of them sees them: a client's requests may reach any process, and
the session lives in one. The token names that process, and the bus carries requests to it."""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
import time
from hashlib import blake2b

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from crown import logs, subjects, vault
from crown.bus import Bus
from crown.errors import BusUnavailable
from services.realtime import closecodes
from services.realtime.session import Session, SessionOver
from services.realtime.tasks import Spawn

log = logs.get(__name__)

# Sessions of one process.
SESSIONS_MOST = 10_000
# Windows after its last poll at which a session ends.
_WINDOWS_KEPT = 1.5
# Seconds that a socket may take for what one request brings, and that the bus may take besides.
PUSH_TIMEOUT_S = 10.0
_RELAY_TIMEOUT_S = 2.0

# What no serializer reads: it stands for a line that is neither text nor base64.
_NO_FRAME = b""

OK, NOTHING, GONE, TIMED_OUT = 200, 204, 410, 408


class Poll(msgspec.Struct, tag=True, frozen=True):
    """Asks for what waits."""

    session_id: str


class LetGo(msgspec.Struct, tag=True, frozen=True):
    """The client of the last poll is gone."""

    session_id: str


class Push(msgspec.Struct, tag=True, frozen=True):
    """Brings frames: each is text, or base64 of a binary one."""

    session_id: str
    lines: list[bytes]


class Answer(msgspec.Struct, frozen=True):
    """What came of a request, as Phoenix numbers it."""

    status: int
    messages: list[str] = []


Request = Poll | LetGo | Push
_REQUEST = msgspec.msgpack.Decoder(Request)
_ANSWER = msgspec.msgpack.Decoder(Answer)


class Tokens:
    """Session tokens. They are signed, so that nobody can make us ask a process for what he made up."""

    _MARK = "lp1"

    def __init__(self, data_key: vault.Key) -> None:
        self._key = blake2b(key=data_key.raw, person=b"longpoll token").digest()

    def sign(self, node: str, session_id: str) -> str:
        """The token of a session."""
        text = f"{self._MARK}.{node}.{session_id}"
        return f"{text}.{self._signature(text)}"

    def read(self, token: str) -> tuple[str, str] | None:
        """The process and the session that `token` names; None where it is none of ours."""
        text, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signature(text).encode()):
            return None
        _, node, session_id = text.split(".")
        return node, session_id

    @classmethod
    def looks_like_one(cls, token: str) -> bool:
        """Tells a session's token from a person's: phoenix.js puts both into one parameter."""
        return token.startswith(f"{cls._MARK}.")

    def _signature(self, text: str) -> str:
        # What is no text goes by its escapes; it then differs from all that was ever signed.
        digest = hmac.digest(self._key, text.encode(errors="backslashreplace"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Sessions:
    """Holds the sessions of the process that is called `node`, and reaches those of others. `watch` has to run
    beside."""

    def __init__(self, node: str, bus: Bus, data_key: vault.Key, spawn: Spawn, window_s: float) -> None:
        self._node = node
        self._bus = bus
        self._key = data_key
        self._tokens = Tokens(data_key)
        self._spawn = spawn
        self._window_s = window_s
        self._sessions: dict[str, Session] = {}
        self._subscription: Subscription | None = None

    def __len__(self) -> int:
        """How many there are here."""
        return len(self._sessions)

    async def start(self) -> None:
        """Hears other processes from now on. Raises BusUnavailable."""
        subject = subjects.longpoll(self._node)
        try:
            self._subscription = await self._bus.client.subscribe(subject, cb=self._asked)
        except nats.errors.Error as error:
            raise BusUnavailable(f"the bus is away ({type(error).__name__})") from error

    async def watch(self) -> None:
        """Ends sessions that are not polled any more, until it is cancelled."""
        while True:
            await asyncio.sleep(self._window_s / 4)
            since = time.monotonic() - _WINDOWS_KEPT * self._window_s
            for session in list(self._sessions.values()):
                if session.polled < since:
                    session.close(closecodes.IDLE)

    async def stop(self) -> None:
        """Hears other processes no longer."""
        if self._subscription is not None:
            try:
                await self._subscription.unsubscribe()
            except nats.errors.Error as error:
                log.warning("unsubscribe_failed", error=type(error).__name__)

    @property
    def full(self) -> bool:
        """True where no more can be kept here."""
        return len(self._sessions) >= SESSIONS_MOST

    def keep(self, session: Session) -> str:
        """Keeps a new session and answers its token."""
        session_id = secrets.token_hex(16)
        self._sessions[session_id] = session
        session.on_end(lambda: self._sessions.pop(session_id, None))
        return self._tokens.sign(self._node, session_id)

    async def poll(self, token: str) -> Answer:
        """What waits for the session, after at most a window. Raises BusUnavailable."""
        named = self._tokens.read(token)
        if named is None:
            return Answer(GONE)
        node, session_id = named
        try:
            return await self._ask(node, Poll(session_id))
        except asyncio.CancelledError:
            self._spawn(self._let_go(node, LetGo(session_id)))
            raise

    async def push(self, token: str, lines: list[bytes]) -> Answer:
        """Hands frames, one a line, to the session. Raises BusUnavailable."""
        named = self._tokens.read(token)
        return Answer(GONE) if named is None else await self._ask(named[0], Push(named[1], lines))

    # -- here

    async def _answer(self, request: Request) -> Answer:
        session = self._sessions.get(request.session_id)
        if session is None:
            return Answer(GONE)
        try:
            match request:
                case Poll():
                    messages = await session.poll(self._window_s)
                    return Answer(OK if messages else NOTHING, messages)
                case LetGo():
                    session.let_go()
                case Push(lines=lines):
                    async with asyncio.timeout(PUSH_TIMEOUT_S):
                        await session.push([_frame(line) for line in lines])
        except SessionOver:
            return Answer(GONE)
        except TimeoutError:
            return Answer(TIMED_OUT)
        return Answer(OK)

    # -- elsewhere

    async def _ask(self, node: str, request: Request) -> Answer:
        if node == self._node:
            return await self._answer(request)
        if not self._bus.connected:
            raise BusUnavailable("the bus is away")
        subject, patience_s = (
            subjects.longpoll(node),
            _RELAY_TIMEOUT_S + max(PUSH_TIMEOUT_S, self._window_s),
        )
        try:
            found = await self._bus.client.request(subject, self._sealed(request), timeout=patience_s)
            return _ANSWER.decode(self._key.open(found.data))
        except nats.errors.NoRespondersError:
            # The process is gone, and its sessions with it.
            return Answer(GONE)
        except (nats.errors.Error, TimeoutError, vault.VaultError, msgspec.DecodeError) as error:
            raise BusUnavailable(f"the process does not answer ({type(error).__name__})") from error

    async def _let_go(self, node: str, request: LetGo) -> None:
        if node == self._node:
            return
        try:
            await self._bus.client.publish(subjects.longpoll(node), self._sealed(request))
        except nats.errors.Error as error:
            log.warning("session_not_let_go", error=type(error).__name__)

    async def _asked(self, message: Msg) -> None:
        # The client waits for this before it hands over the next message.
        self._spawn(self._relay(message))

    async def _relay(self, message: Msg) -> None:
        try:
            request = _REQUEST.decode(self._key.open(message.data))
        except (vault.VaultError, msgspec.DecodeError) as error:
            log.warning("longpoll_request_unreadable", error=type(error).__name__)
            return
        answer = await self._answer(request)
        if message.reply:
            await message.respond(self._sealed(answer))

    def _sealed(self, content: Request | Answer) -> bytes:
        return self._key.seal(msgspec.msgpack.encode(content))


def _frame(line: bytes) -> str | bytes:
    try:
        return line.decode() if line.startswith((b"[", b"{")) else base64.b64decode(line, validate=True)
    except ValueError:
        return _NO_FRAME
