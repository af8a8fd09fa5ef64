"""The browser's side of Web Push: keys of a subscription, and the decryption of what comes for it (RFC 8291 over the
aes128gcm coding of RFC 8188). Written from the RFCs, apart from the encryption that it tests."""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_SALT_BYTES, _SIZE_BYTES, _TAG_BYTES, _POINT_BYTES = 16, 4, 16, 65
_HEADER_BYTES = _SALT_BYTES + _SIZE_BYTES + 1
_LAST, _MORE = 2, 1
_RECORD_LEAST = 18


class Undecryptable(Exception):
    """The body is no message for this subscription; says why."""


class BrowserKeys:
    """What a browser keeps of a subscription, and what it hands out."""

    def __init__(self, private: bytes, auth: bytes) -> None:
        self._key = derive_private_key(int.from_bytes(private), SECP256R1())
        self._public = point(self._key.public_key())
        self._auth = auth
        self.private = private

    @classmethod
    def new(cls) -> BrowserKeys:
        """Fresh ones."""
        key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
        return cls(key.private_numbers().private_value.to_bytes(32), os.urandom(16))

    @property
    def p256dh(self) -> str:
        """The public key, as PushSubscription.toJSON() tells it."""
        return encoded(self._public)

    @property
    def auth(self) -> str:
        """The shared secret, likewise."""
        return encoded(self._auth)

    def decrypt(self, body: bytes) -> bytes:
        """The message in `body`. Raises Undecryptable."""
        salt, size = body[:_SALT_BYTES], int.from_bytes(body[_SALT_BYTES : _SALT_BYTES + _SIZE_BYTES])
        if len(body) < _HEADER_BYTES + _POINT_BYTES or body[_HEADER_BYTES - 1] != _POINT_BYTES:
            raise Undecryptable("the header must hold salt, record size and a key of 65 bytes")
        if size < _RECORD_LEAST:
            raise Undecryptable(f"a record has at least {_RECORD_LEAST} bytes")
        sender = body[_HEADER_BYTES : _HEADER_BYTES + _POINT_BYTES]
        key, nonce = self._keys(sender, salt)
        records = body[_HEADER_BYTES + _POINT_BYTES :]
        pieces = [records[start : start + size] for start in range(0, len(records), size)]
        if not pieces:
            raise Undecryptable("there is no record")
        return b"".join(
            _opened(AESGCM(key), _nonce(nonce, number), piece, last=number == len(pieces) - 1)
            for number, piece in enumerate(pieces)
        )

    def _keys(self, sender: bytes, salt: bytes) -> tuple[bytes, bytes]:
        try:
            shared = self._key.exchange(ECDH(), public_key(sender))
        except ValueError:
            raise Undecryptable("the sender's key is no point of P-256") from None
        info = b"WebPush: info\0" + self._public + sender
        secret = HKDF(SHA256(), 32, self._auth, info).derive(shared)
        extracted = HKDF.extract(SHA256(), salt, secret)
        key = HKDFExpand(SHA256(), 16, b"Content-Encoding: aes128gcm\0").derive(extracted)
        return key, HKDFExpand(SHA256(), 12, b"Content-Encoding: nonce\0").derive(extracted)


def public_key(raw: bytes) -> EllipticCurvePublicKey:
    """The key of an uncompressed point. Raises ValueError."""
    return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), raw)


def point(key: EllipticCurvePublicKey) -> bytes:
    """65 bytes."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def encoded(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding. Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _nonce(start: bytes, number: int) -> bytes:
    return (int.from_bytes(start) ^ number).to_bytes(len(start))


def _opened(cipher: AESGCM, nonce: bytes, record: bytes, *, last: bool) -> bytes:
    try:
        padded = cipher.decrypt(nonce, record, None).rstrip(b"\0")
    except (InvalidTag, ValueError):
        raise Undecryptable("it was not encrypted for this subscription") from None
    if not padded or padded[-1] != (_LAST if last else _MORE):
        raise Undecryptable("a record ends with its delimiter, 2 for the last one and 1 for the others")
    return padded[:-1]
