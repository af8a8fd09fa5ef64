"""VAPID (RFC 8292), as a push service checks it: who sends, and that it is for this push service and this hour."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from stack.sandbox.web_push_crypto import decoded, public_key

LIFE_LIMIT_S = 24 * 3_600
_KEPT_MOST = 1_000

_CREDENTIALS = re.compile(r"vapid +(?P<parts>[!-~][!-~ ]*)\Z", re.IGNORECASE)
_CONTACT = re.compile(r"mailto:[^@\s]+@[^@\s]+\Z|https://[^\s/]+")


class Unauthorized(Exception):
    """The status and why."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem


class Vapid:
    """Checks Authorization headers. What was good is remembered until it expires: a sender uses a token for hours."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._good: dict[tuple[str, str], tuple[float, str]] = {}

    def sender(self, authorization: str, origin: str) -> str:
        """The public key that the sender signs with, in base64url. Raises Unauthorized, 401 or 403."""
        expires, key = self._good.get((authorization, origin), (0.0, ""))
        if expires > self._clock():
            return key
        token, key = _parts(authorization)
        claims = self._claims(token, key)
        if claims.get("aud") != origin:
            raise Unauthorized(403, f"aud must be {origin}")
        if len(self._good) >= _KEPT_MOST:
            self._good.clear()
        self._good[authorization, origin] = (float(claims["exp"]), key)
        return key

    def _claims(self, token: str, key: str) -> dict[str, Any]:
        try:
            public = public_key(decoded(key))
        except (ValueError, UnsupportedAlgorithm):
            raise Unauthorized(401, "k must be a point of P-256, uncompressed, in base64url") from None
        try:
            # Times are checked by this sandbox's own clock, below.
            claims: dict[str, Any] = jwt.decode(
                token, public, ["ES256"], {"verify_exp": False, "verify_aud": False, "verify_iat": False}
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(403, f"t is not signed with k by ES256: {error}") from None
        expires, now = claims.get("exp"), self._clock()
        if not isinstance(expires, int | float) or not now < expires <= now + LIFE_LIMIT_S:
            raise Unauthorized(403, "exp must be ahead, by at most 24 hours")
        if not isinstance(contact := claims.get("sub"), str) or not _CONTACT.match(contact):
            raise Unauthorized(403, "sub must be mailto:… or https://…")
        return claims


def _parts(authorization: str) -> tuple[str, str]:
    """The token and the key of `vapid t=…, k=…`."""
    if not authorization:
        raise Unauthorized(401, "Authorization: vapid t=…, k=… is missing")
    found = _CREDENTIALS.match(authorization)
    pairs = (part.strip().partition("=") for part in found["parts"].split(",")) if found else ()
    named = {name: value for name, _, value in pairs}
    if not named.get("t") or not named.get("k"):
        raise Unauthorized(401, "Authorization must be vapid t=…, k=…")
    return named["t"], named["k"]
