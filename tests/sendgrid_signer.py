"""Signs as SendGrid's event webhook does."""

from __future__ import annotations

import base64
import time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"


class Signer:
    """One key pair: a new one, or the one that `pem` holds."""

    def __init__(self, pem: bytes = b"") -> None:
        self._key = _read(pem) if pem else ec.generate_private_key(ec.SECP256R1())

    @property
    def public(self) -> str:
        """The verification key as SendGrid shows it."""
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def headers(self, body: bytes, age_s: int = 0) -> dict[str, str]:
        """What a call of SendGrid has that was signed so long ago."""
        stamp = str(int(time.time()) - age_s)
        return {SIGNATURE: self.sign(stamp, body), TIMESTAMP: stamp}

    def sign(self, stamp: str, body: bytes) -> str:
        """The signature in the header."""
        return base64.b64encode(self._key.sign(stamp.encode() + body, ec.ECDSA(SHA256()))).decode()


def _read(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
