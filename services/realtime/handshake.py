"""The door of the socket: a GET becomes a connection, or a refusal with an empty body. Addresses of requests
are never logged, since they may hold a token."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from crown.auth import Authenticator, Principal
from crown.errors import CrownError, Unavailable
from services.realtime.origins import Origins
from services.realtime.serializer import Serializer, for_version
from services.realtime.tasks import Spawn

PATH = "/socket/websocket"
_PROTOCOL = "phoenix"
_BEARER = "base64url.bearer.phx."
# Where phoenix.js puts the token when it polls.
_AUTH_HEADER = "X-Phoenix-AuthToken"
_FIELDS_MOST = 32
TOKEN_MOST_CHARS = 8_192

Parameters = Sequence[tuple[str, str]]


class Refused(Exception):
    """No connection; `status` is the HTTP status that says so, and `headers` go with it."""

    def __init__(self, status: int, retry_after_s: int | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


@dataclass(frozen=True, slots=True)
class Admission:
    """Who connects and what they speak; `subprotocol` is what the answer has to name."""

    principal: Principal
    serializer: Serializer
    subprotocol: str | None


@dataclass(frozen=True, slots=True)
class Handshake:
    """Decides on requests. `spawn` runs what a decision has to be made without."""

    authenticator: Authenticator
    origins: Origins
    spawn: Spawn

    def admit(self, target: str, headers: Mapping[str, str]) -> Admission:
        """Lets a request in. Raises Refused."""
        path, found = split(target)
        parameters = dict(found)
        if path != PATH:
            raise Refused(404)
        if not self.origins.allow(headers.get("Origin"), headers.get("Host", "")):
            raise Refused(403)
        offered = [part.strip() for part in headers.get("Sec-WebSocket-Protocol", "").split(",")]
        serializer = for_version(parameters.get("vsn"))
        token = _offered_token(offered) or parameters.get("token", "")
        if serializer is None or not 0 < len(token) <= TOKEN_MOST_CHARS:
            raise Refused(403)
        return Admission(self._principal(token), serializer, _PROTOCOL if _PROTOCOL in offered else None)

    async def admit_session(self, parameters: Parameters, headers: Mapping[str, str]) -> Admission:
        """Lets in a client that polls, and takes text only; its origin was looked at. Raises Refused."""
        named = dict(parameters)
        serializer = for_version(named.get("vsn"), binary=False)
        token = headers.get(_AUTH_HEADER) or named.get("token", "")
        if serializer is None or not 0 < len(token) <= TOKEN_MOST_CHARS:
            raise Refused(403)
        try:
            return Admission(await self.authenticator.principal(token), serializer, None)
        except Unavailable:
            raise Refused(503) from None
        except CrownError:
            raise Refused(403) from None

    def _principal(self, token: str) -> Principal:
        try:
            found = self.authenticator.at_once(token)
        except CrownError:
            raise Refused(403) from None
        if found is None:
            # The transport needs its answer now. Clients come back, and then the key will have been read.
            self.spawn(self._read_keys(token))
            raise Refused(403)
        return found

    async def _read_keys(self, token: str) -> None:
        with suppress(CrownError):
            await self.authenticator.principal(token)


def split(target: str) -> tuple[str, Parameters]:
    """The path of a request and what its query says. Raises Refused."""
    try:
        parts = urlsplit(target)
        fields = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=_FIELDS_MOST, errors="strict")
    except ValueError:
        raise Refused(400) from None
    return parts.path, fields


def _offered_token(offered: list[str]) -> str:
    """The token that phoenix.js hides among the subprotocols, in base64 of either alphabet, unpadded."""
    found = next((part for part in offered if part.startswith(_BEARER)), None)
    if found is None:
        return ""
    text = found.removeprefix(_BEARER).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
    except ValueError:
        raise Refused(403) from None
