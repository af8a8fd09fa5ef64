"""Signs the tokens of `crown token`. In production the auth service does this, with the same claims."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum

import jwt

from stack import keys
from stack.secrets import Secrets, read

ISSUER = "crown-stack"
AUDIENCE = "crown-notification"

SCOPES = (
    "notifications.send",
    "inbox.read",
    "inbox.write",
    "preferences.write",
    "contacts.write",
    "people.write",
    "groups.write",
    "realtime.publish",
    "presence.read",
    "sessions.revoke",
    "tokens.revoke",
    "channels.send",
    "templates.write",
    "suppressions.write",
    "notifications.filter",
)

DEFAULT_TTL_S = 24 * 3600


class Use(StrEnum):
    """Who a token speaks for."""

    USER = "user"
    SERVICE = "service"
    OPERATOR = "operator"


def sign(
    secrets: Secrets,
    use: Use,
    subject: str,
    *,
    scopes: Sequence[str] = (),
    ttl_s: int = DEFAULT_TTL_S,
    audience: str = AUDIENCE,
    session: str = "",
) -> str:
    """A token for `subject`. A service gets every scope unless some are named; others have none. `session` names
    the login that it belongs to, which can then be ended alone."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": ISSUER,
        "aud": audience,
        "sub": subject,
        "iat": now,
        "exp": now + ttl_s,
        "use": str(use),
    }
    if use is Use.SERVICE:
        claims["scope"] = " ".join(scopes or SCOPES)
    if session:
        claims["sid"] = session
    key = read(secrets.signing_key())
    return jwt.encode(claims, key, algorithm=keys.SIGNING_ALGORITHM, headers={"kid": keys.key_id(key)})
