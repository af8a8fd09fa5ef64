"""Encryption of what only a person and the providers may read. Content is sealed under a key of its own,
made when it is accepted; that key travels wrapped: on the bus under the deployment's data key, in the store
under the key of each person it is for. So destroying a person's key makes all copies unreadable to us, and
nothing is ever encrypted twice. AES-256-GCM throughout; the nonce stands before the ciphertext."""

from __future__ import annotations

import base64
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crown.notification.v1 import events_pb2

_NONCE_BYTES = 12
_KEY_BYTES = 32


class VaultError(Exception):
    """The ciphertext is not ours, was altered, or its key is gone."""


class Key:
    """A 256-bit key that seals bytes."""

    __slots__ = ("_cipher", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._cipher = AESGCM(raw)

    @classmethod
    def fresh(cls) -> Key:
        """A new random key."""
        return cls(os.urandom(_KEY_BYTES))

    def seal(self, plain: bytes) -> bytes:
        """`plain`, encrypted and authenticated."""
        return self.seal_with(os.urandom(_NONCE_BYTES), plain)

    def seal_with(self, nonce: bytes, plain: bytes) -> bytes:
        """The same with a nonce that this key has never seen."""
        return nonce + self._cipher.encrypt(nonce, plain, None)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed. Raises VaultError where this key did not seal it."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError) as error:
            raise VaultError("cannot be opened with this key") from error

    def wrap(self, key: Key) -> bytes:
        """`key`, sealed under this one."""
        return self.seal(key.raw)

    def unwrap(self, wrapped: bytes) -> Key:
        """The key that `wrap` gave. Raises VaultError."""
        raw = self.open(wrapped)
        if len(raw) != _KEY_BYTES:
            raise VaultError("what was wrapped is no key")
        return Key(raw)


def data_key(encoded: str) -> Key:
    """The deployment's data key from its base64 form."""
    return Key(base64.b64decode(encoded))


def tag(data_key: Key, purpose: str, text: str) -> bytes:
    """16 bytes by which equal texts are told, and which say nothing of them to who has not got the key."""
    return hmac.digest(data_key.raw, f"{purpose}:{text}".encode(), "sha256")[:16]


def seal(data_key: Key, plain: bytes) -> events_pb2.Sealed:
    """`plain` under a fresh key, and that key under `data_key`: the form in which content rides the bus."""
    # All that has to be random at once: each look at the system's source costs as much as the encryption.
    random = os.urandom(_KEY_BYTES + 2 * _NONCE_BYTES)
    raw, first, second = random[:_KEY_BYTES], random[_KEY_BYTES:-_NONCE_BYTES], random[-_NONCE_BYTES:]
    return events_pb2.Sealed(
        ciphertext=Key(raw).seal_with(first, plain), wrapped_key=data_key.seal_with(second, raw)
    )


def unseal(data_key: Key, sealed: events_pb2.Sealed) -> bytes:
    """What `seal` was given. Raises VaultError."""
    return data_key.unwrap(sealed.wrapped_key).open(sealed.ciphertext)
