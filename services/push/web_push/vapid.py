"""Who we are to a browser's push service: VAPID, RFC 8292. One key pair for the deployment; browsers subscribe
with its public half, and only who holds the private one may send to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.push.web_push.crypto import decoded, encoded, point

# RFC 8292 allows a day. A token is replaced when half its life is over, so a clock that is hours off does no harm.
_LIFE_S = 12 * 3_600.0
# A suffix in the list of hosts stands for many origins; more than these are forgotten and signed anew.
_ORIGINS_MOST = 1_000


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """The key from its PEM form, or from 32 bytes in base64url. Raises ValueError where it is no key of P-256."""
    if text.lstrip().startswith("-----BEGIN"):
        found = load_pem_private_key(text.encode(), password=None)
        if not isinstance(found, ec.EllipticCurvePrivateKey) or not isinstance(found.curve, ec.SECP256R1):
            raise ValueError("not a key of P-256")
        return found
    raw = decoded(text.strip())
    if len(raw) != 32:
        raise ValueError("not 32 bytes")
    return ec.derive_private_key(int.from_bytes(raw), ec.SECP256R1())


class Vapid:
    """Signs with one key. `contact` is where a push service reaches us: mailto: or https:. `clock` gives seconds
    since 1970."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, contact: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._contact = contact
        self._clock = clock
        self._kept: dict[str, tuple[float, str]] = {}
        self.public_key = encoded(point(key.public_key()))

    def authorization(self, endpoint: str) -> str:
        """The header for a call of `endpoint`."""
        parts = urlsplit(endpoint)
        origin = f"{parts.scheme}://{parts.netloc}".lower()
        expires, header = self._kept.get(origin, (0.0, ""))
        if expires - self._clock() < _LIFE_S / 2:
            header = self._signed(origin)
        return header

    def _signed(self, origin: str) -> str:
        expires = self._clock() + _LIFE_S
        claims = {"aud": origin, "exp": int(expires), "sub": self._contact}
        header = f"vapid t={jwt.encode(claims, self._key, 'ES256')}, k={self.public_key}"
        if len(self._kept) >= _ORIGINS_MOST:
            self._kept.clear()
        self._kept[origin] = (expires, header)
        return header
