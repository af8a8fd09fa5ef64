"""Whether a call is SendGrid's: its event webhook signs time and body with ECDSA on P-256. Checked on the bytes as
they came, before anybody reads them."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from crown.clock import Clock, now
from crown.errors import SignatureInvalid

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
# Seconds that a call may be old, or ahead of our clock. SendGrid names no window and stamps each try anew.
AGE_MOST_S = 300

_SECONDS = re.compile(r"[0-9]{1,12}")


def keys(written: str) -> list[ec.EllipticCurvePublicKey]:
    """The verification keys in a list separated by commas, each as SendGrid shows it: DER in base64. Raises
    ValueError."""
    return [_key(part.strip()) for part in written.split(",") if part.strip()]


def _key(encoded: str) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(base64.b64decode(encoded, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("must be the verification key of a signed event webhook, as SendGrid shows it")
    return key


class SendGridSignature:
    """Checks signatures with `keys`, of which any may fit; without any, nothing is good."""

    def __init__(self, keys: Sequence[ec.EllipticCurvePublicKey], clock: Clock = now) -> None:
        self._keys = keys
        self._clock = clock

    def check(self, signature: str, stamp: str, body: bytes) -> None:
        """Raises SignatureInvalid, the same whatever is wrong."""
        if not self._signed(signature, stamp.encode() + body) or not self._fresh(stamp, self._clock()):
            raise SignatureInvalid("not signed by SendGrid with the key that is set here, or too old")

    def _signed(self, signature: str, signed: bytes) -> bool:
        try:
            raw = base64.b64decode(signature, validate=True)
        except ValueError:
            return False
        return any(_verifies(key, raw, signed) for key in self._keys)

    def _fresh(self, stamp: str, moment: datetime) -> bool:
        return bool(_SECONDS.fullmatch(stamp)) and abs(moment.timestamp() - int(stamp)) <= AGE_MOST_S


def _verifies(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
