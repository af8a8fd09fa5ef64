"""Message encryption for Web Push: RFC 8291 over RFC 8188's aes128gcm, one record a message. Pure, but for the
fresh key and salt of each message."""

from __future__ import annotations

import base64
import os
import struct

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# What a push service must take (RFC 8030, section 7.2) and no more: the header of salt, record size and key,
# the end-of-record byte and the tag go off it.
BODY_MOST_BYTES = 4_096
PLAIN_MOST_BYTES = BODY_MOST_BYTES - (16 + 4 + 1 + 65) - 1 - 16
_SALT_BYTES = 16
_AUTH_BYTES = 16
_LAST_RECORD = b"\x02"


def browser_key(p256dh: str) -> ec.EllipticCurvePublicKey:
    """The public key of a subscription from base64url. Raises ValueError unless it is a point of P-256, written
    uncompressed."""
    raw = decoded(p256dh)
    if raw[:1] != b"\x04":
        raise ValueError("not an uncompressed point")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)


def shared_secret(auth: str) -> bytes:
    """The secret of a subscription from base64url. Raises ValueError unless it is 16 bytes."""
    raw = decoded(auth)
    if len(raw) != _AUTH_BYTES:
        raise ValueError("not 16 bytes")
    return raw


def encrypt(
    plain: bytes,
    p256dh: str,
    auth: str,
    own: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """The body that carries `plain` to the browser with these keys. `own` and `salt` are fresh for each message,
    except in tests. Raises ValueError where the keys are none, or `plain` is longer than PLAIN_MOST_BYTES."""
    if len(plain) > PLAIN_MOST_BYTES:
        raise ValueError(f"longer than {PLAIN_MOST_BYTES} bytes")
    theirs = browser_key(p256dh)
    own = own or ec.generate_private_key(ec.SECP256R1())
    salt = salt or os.urandom(_SALT_BYTES)
    public = point(own.public_key())
    secret = own.exchange(ec.ECDH(), theirs)
    content_key, nonce = _keys(secret, shared_secret(auth), point(theirs), public, salt)
    header = salt + struct.pack("!IB", BODY_MOST_BYTES, len(public)) + public
    return header + AESGCM(content_key).encrypt(nonce, plain + _LAST_RECORD, None)


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as 65 bytes."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def encoded(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes of base64url, with or without padding. Raises ValueError."""
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)


def _keys(secret: bytes, auth: bytes, theirs: bytes, ours: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """The content's key and nonce: RFC 8291, section 3.4."""
    input_key = _derived(secret, auth, b"WebPush: info\x00" + theirs + ours, 32)
    content_key = _derived(input_key, salt, b"Content-Encoding: aes128gcm\x00", 16)
    return content_key, _derived(input_key, salt, b"Content-Encoding: nonce\x00", 12)


def _derived(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)
