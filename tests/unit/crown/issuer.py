"""An auth service small enough for tests: its keys, the set it publishes, and the tokens that it signs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "crown-auth"
AUDIENCE = "crown-notification"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issuer:
    """Signs with the key `kid`, of which there are "ec" (ES256), "rsa" (RS256) and what `add` brings."""

    def __init__(self) -> None:
        self.private: dict[str, PrivateKey] = {}
        self.add("ec", ec.generate_private_key(ec.SECP256R1()))
        self.add("rsa", rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def add(self, kid: str, key: PrivateKey) -> None:
        """Signs with `key`, too."""
        self.private[kid] = key

    def jwks(self, *kids: str) -> dict[str, Any]:
        """The public set of these keys; of all where none is named."""
        return {"keys": [self._public(kid) for kid in kids or self.private]}

    def publish(self, path: Path, *kids: str) -> str:
        """Writes the set of these keys, and answers where."""
        path.write_text(json.dumps(self.jwks(*kids)))
        return str(path)

    def token(self, kid: str = "ec", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token of user123 that is good, unless `claims` spoil it; one that is None is left out."""
        now = int(time.time())
        given = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "user123",
            "use": "user",
            "iat": now,
            "exp": now + 600,
        }
        full = {name: value for name, value in (given | claims).items() if value is not None}
        shown = {name: value for name, value in ({"kid": kid} | (headers or {})).items() if value is not None}
        return jwt.encode(full, self.private[kid], _algorithm(self.private[kid]), shown)

    def _public(self, kid: str) -> dict[str, Any]:
        key = self.private[kid]
        public: dict[str, Any]
        if isinstance(key, rsa.RSAPrivateKey):
            public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        else:
            public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        return {**public, "kid": kid, "alg": _algorithm(key), "use": "sig"}


def _algorithm(key: PrivateKey) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
