"""Many tokens at once: as `crown token` makes one, but the key is read once."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stack import keys
from stack.control import Stack
from stack.secrets import read
from stack.tokens import AUDIENCE, ISSUER, Use

_TTL_S = 3600


def tokens(stack: Stack, users: Sequence[str]) -> list[str]:
    """A token for each of `users`."""
    text = read(stack.secrets.signing_key())
    key = load_pem_private_key(text.encode(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    headers, now = {"kid": keys.key_id(text)}, int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + _TTL_S, "use": str(Use.USER)}
    return [
        jwt.encode({**claims, "sub": user}, key, algorithm=keys.SIGNING_ALGORITHM, headers=headers)
        for user in users
    ]
