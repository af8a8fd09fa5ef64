"""Who is calling: JWTs, checked against the keys that the auth service publishes. The gateway checks them
too, but a service trusts no one who merely came through the gateway."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from crown import logs
from crown.errors import NotAllowed, TokenMissing, Unauthenticated, Unavailable
from crown.token import LIFE_MOST_S, BadToken, Claims, Token, read

log = logs.get(__name__)

_ALGORITHMS = ["RS256", "ES256"]
# Seconds that a token is still good after it expired: clocks differ.
LEEWAY_S = 30
_TOKENS_KEPT = 20_000
# A token with an unknown key id makes the keys be read again, but not more often than this.
_RELOAD_PAUSE_S = 5.0
# Seconds between two looks at the source, as the gateway's: a key that was withdrawn there is believed no longer.
REFRESH_S = 10.0
# Seconds that keys are believed while their source cannot be read: an outage of the auth service is not to become one
# of ours, but somebody who keeps us from reading shall not keep a withdrawn key alive for good.
KEPT_S = 24 * 3_600.0
_ADDRESSES = ("http://", "https://")
_FETCH_TIMEOUT_S = 5.0
HOW_TO_GET_ONE = (
    "send 'Authorization: Bearer <token>' with a token of your auth service; "
    "on a machine of your own, 'crown token --user <id>' or 'crown token --service <name>' prints one"
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: `use` is user, service or operator; `scopes` are a service's rights; `expires` and `issued` are
    in seconds since 1970; `session` is the login that the token belongs to, empty where it does not say; `key_id`
    names the key that signed it."""

    use: str
    subject: str
    scopes: frozenset[str]
    expires: float
    session: str = ""
    issued: float = 0.0
    key_id: str = ""


NOBODY = Principal("nobody", "", frozenset(), 0.0)
_caller: ContextVar[Principal] = ContextVar("caller", default=NOBODY)


def caller() -> Principal:
    """The principal of the call that is being handled; NOBODY on an open RPC without a token."""
    return _caller.get()


def set_caller(principal: Principal) -> None:
    """Makes `principal` the caller of this task."""
    _caller.set(principal)


@dataclass(frozen=True, slots=True)
class _Published:
    """A key of the set. It is the same one as long as it is `written` the same."""

    written: str
    key: jwt.PyJWK = field(compare=False)


class Keys:
    """The public keys of the auth service, from a file or an https address. `watch` has to run beside."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: dict[str, _Published] = {}
        # Which state of a file `held` has read.
        self._stamp = (0, 0, 0)
        self._tried = float("-inf")
        self._read_at = float("-inf")
        self._loading = asyncio.Lock()
        self._actions: list[Callable[[frozenset[str]], None]] = []

    def on_withdrawn(self, action: Callable[[frozenset[str]], None]) -> None:
        """Calls `action`, which must not wait, with the ids of keys that are no longer published, or are others
        now."""
        self._actions.append(action)

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key named `key_id`. An unknown one makes the source be read again, for rotation. Raises
        Unavailable where the source has never been readable, or not for a day."""
        if key_id not in self._keys:
            await self._load()
        return self._known(key_id)

    def held(self, key_id: str) -> jwt.PyJWK | None:
        """The key named `key_id` if it was read already. Where the source is a file that has changed, it is read here
        and now: who cannot wait then knows a new key, too."""
        if key_id not in self._keys and not self._far:
            with self._told():
                self._take_changed(Path(self._source))
        return self._known(key_id)

    async def watch(self) -> None:
        """Reads the source again and again, once somebody has asked for a key, until it is cancelled."""
        while True:
            await asyncio.sleep(REFRESH_S)
            if not self._keys and self._tried == float("-inf"):
                continue
            try:
                await self.refresh()
            except Exception as error:
                # Whatever it was: who stops looking believes withdrawn keys for good.
                log.error("keys_watch_failed", exc_info=error)

    async def refresh(self) -> None:
        """Reads the source. Where it cannot be read, what is known stays, but not for longer than a day."""
        async with self._loading:
            self._tried = time.monotonic()
            with self._told():
                self._take(await self._read())
            if self._keys and time.monotonic() - self._read_at >= KEPT_S:
                log.error("keys_forgotten")
                self._replace({})

    def _known(self, key_id: str) -> jwt.PyJWK | None:
        found = self._keys.get(key_id)
        return found.key if found else None

    async def _load(self) -> None:
        async with self._loading:
            if self._may_try():
                with self._told():
                    self._take(await self._read())
        if not self._keys:
            raise Unavailable("the auth service's keys cannot be read")

    @property
    def _far(self) -> bool:
        return self._source.startswith(_ADDRESSES)

    def _may_try(self) -> bool:
        now = time.monotonic()
        if now - self._tried < _RELOAD_PAUSE_S:
            return False
        self._tried = now
        return True

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What keeps the source from being read goes into the log, and no further."""
        try:
            yield
        except (OSError, ValueError, TimeoutError, jwt.PyJWTError) as error:
            log.warning("keys_unreadable", error=type(error).__name__)

    def _take_changed(self, path: Path) -> None:
        now = path.stat()
        stamp = (now.st_ino, now.st_mtime_ns, now.st_size)
        if stamp != self._stamp:
            self._stamp = stamp
            self._take(path.read_text(encoding="utf-8"))

    def _take(self, document: str) -> None:
        keys = _parse(document)
        self._read_at = time.monotonic()
        self._replace(keys)

    def _replace(self, keys: dict[str, _Published]) -> None:
        gone = frozenset(key_id for key_id, one in self._keys.items() if keys.get(key_id) != one)
        self._keys = keys
        if gone:
            log.info("keys_withdrawn", keys=len(gone))
            for action in self._actions:
                action(gone)

    async def _read(self) -> str:
        if not self._far:
            return await asyncio.to_thread(Path(self._source).read_text, encoding="utf-8")
        # Only where it is needed: it takes a quarter of a second to load, and most services read a file.
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._source) as answer:
                answer.raise_for_status()
                return await answer.text()
        except aiohttp.ClientError as error:
            raise OSError(f"the keys cannot be fetched ({type(error).__name__})") from error


def _parse(document: str) -> dict[str, _Published]:
    """The keys of a JWK set by their id. Raises ValueError and PyJWTError."""
    found = json.loads(document)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError("the document is not a JWK set")
    written = {str(key.get("kid")): json.dumps(key, sort_keys=True) for key in keys}
    usable = {str(key.key_id): key for key in jwt.PyJWKSet(keys).keys}
    return {key_id: _Published(written[key_id], key) for key_id, key in usable.items()}


def problem_of(source: str) -> str:
    """What is wrong with a file of keys; empty where nothing is. An address may be away for now, a file may not."""
    if source.startswith(_ADDRESSES):
        return ""
    try:
        _parse(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        return f"cannot read the file ({error.strerror})"
    except (ValueError, jwt.PyJWTError):
        return "the file is not a JWK set"
    return ""


class Authenticator:
    """Turns a token into a Principal, and remembers it until it expires."""

    def __init__(self, keys: Keys, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._known: OrderedDict[str, Principal] = OrderedDict()
        self._revoked: Callable[[Principal], bool] = _never
        keys.on_withdrawn(self._forget)

    def refuse(self, revoked: Callable[[Principal], bool]) -> None:
        """From now on asks `revoked` each time that a good token comes, and refuses where it says so."""
        self._revoked = revoked

    def on_withdrawn(self, action: Callable[[frozenset[str]], None]) -> None:
        """See Keys: `action` ends what was begun with tokens of these keys."""
        self._keys.on_withdrawn(action)

    async def watch(self) -> None:
        """Keeps the keys as they are published, until it is cancelled."""
        await self._keys.watch()

    async def warm(self) -> None:
        """Reads the keys before the first token comes. Raises Unavailable where they cannot be read."""
        await self._keys.find("")

    async def principal(self, token: str) -> Principal:
        """Who holds `token`. Raises Unauthenticated and NotAllowed; Unavailable where the keys have never been
        read."""
        found = self.at_once(token)
        if found is None and await self._keys.find(_read(token).key_id) is not None:
            found = self.at_once(token)
        if found is None:
            raise Unauthenticated("the token is signed with a key that is not known here")
        return found

    def at_once(self, token: str) -> Principal | None:
        """As `principal`, for those who cannot wait: None where a key would have to be read first."""
        known = self._known.get(token)
        if known is None:
            shown = _read(token)
            key = self._keys.held(shown.key_id)
            if key is None:
                return None
            known = self._known[token] = self._verify(shown, key)
            if len(self._known) > _TOKENS_KEPT:
                self._known.popitem(last=False)
        if known.expires + LEEWAY_S < time.time():
            self._known.pop(token, None)
            raise Unauthenticated("the token has expired")
        if self._revoked(known):
            raise Unauthenticated("the token was revoked")
        return known

    def _forget(self, gone: frozenset[str]) -> None:
        for token in [token for token, known in self._known.items() if known.key_id in gone]:
            del self._known[token]

    def _verify(self, shown: Token, key: jwt.PyJWK) -> Principal:
        if key.algorithm_name not in _ALGORITHMS:
            raise Unauthenticated("the token is signed with a key that is not known here")
        try:
            claims = shown.verify(key)
            self._check(claims, time.time())
        except BadToken as error:
            raise _refused(error) from error
        if self._audience not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
            # A good token, but for somebody else's service: another one of the same kind will not help.
            raise NotAllowed("the token is for another audience")
        return _principal(claims, shown.key_id)

    def _check(self, claims: Claims, now: float) -> None:
        if max(claims.iat, claims.nbf) > now + LEEWAY_S:
            raise BadToken("not yet valid")
        if claims.exp <= now - LEEWAY_S:
            raise BadToken("expired")
        if claims.exp - claims.iat > LIFE_MOST_S:
            raise BadToken("good for longer than 7 days; none may be, since it could not be revoked")
        if claims.iss != self._issuer:
            raise BadToken("issuer")


def _never(principal: Principal) -> bool:
    del principal
    return False


def _read(token: str) -> Token:
    try:
        return read(token)
    except BadToken as error:
        raise _refused(error) from error


def _refused(error: BadToken) -> Unauthenticated:
    return Unauthenticated(f"the token does not verify ({error})")


def _principal(claims: Claims, key_id: str) -> Principal:
    use, scope = claims.use, claims.scope
    if not isinstance(use, str) or use not in {"user", "service", "operator"}:
        raise Unauthenticated("the token's claim `use` must be user, service or operator")
    if not claims.sub:
        raise Unauthenticated("the token's claim `sub` must not be empty")
    scopes = frozenset(scope.split()) if isinstance(scope, str) and use == "service" else frozenset()
    return Principal(use, claims.sub, scopes, float(claims.exp), claims.sid, float(claims.iat), key_id)


def bearer(header: str | None, written: str = "") -> str:
    """The token of an Authorization header; without a header, the one that is `written` in the request. Raises
    Unauthenticated where there is none."""
    if not header:
        if written:
            return written
        raise TokenMissing(f"a token is required: {HOW_TO_GET_ONE}")
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated(f"the authorization must be a bearer token: {HOW_TO_GET_ONE}")
    return token.strip()
