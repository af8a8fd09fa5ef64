"""Encryption of what only a person and the providers may read. Content is sealed under a key of its own,
made when it is accepted; that key travels wrapped: on the bus under the deployment's data key, in the store
under the key of each person it is for. So destroying a person's key makes all copies unreadable to us, and
nothing is ever encrypted twice. AES-256-GCM throughout; the nonce stands before the ciphertext."""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Sequence
from contextlib import suppress

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crown.notification.v1 import events_pb2

_NONCE_BYTES = 12
_KEY_BYTES = 32
# In a list of keys that seal: the data key.
DATA = "data"


class VaultError(Exception):
    """The ciphertext is not ours, was altered, or its key is gone."""


class Key:
    """A 256-bit key that seals bytes. `sealing` are others in its place: the first seals, and all open, as does the
    key itself. What follows from `raw`, such as hashes, stays as it is."""

    __slots__ = ("_ciphers", "raw")

    def __init__(self, raw: bytes, sealing: Sequence[bytes] = ()) -> None:
        self.raw = raw
        self._ciphers = [AESGCM(one) for one in dict.fromkeys((*sealing, raw))]

    @classmethod
    def fresh(cls) -> Key:
        """A new random key."""
        return cls(os.urandom(_KEY_BYTES))

    def seal(self, plain: bytes) -> bytes:
        """`plain`, encrypted and authenticated."""
        return self.seal_with(os.urandom(_NONCE_BYTES), plain)

    def seal_with(self, nonce: bytes, plain: bytes) -> bytes:
        """The same with a nonce that this key has never seen."""
        return nonce + self._ciphers[0].encrypt(nonce, plain, None)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed. Raises VaultError where this key did not seal it."""
        for cipher in self._ciphers:
            with suppress(InvalidTag, ValueError):
                return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        raise VaultError("cannot be opened with this key")

    def wrap(self, key: Key) -> bytes:
        """`key`, sealed under this one."""
        return self.seal(key.raw)

    def unwrap(self, wrapped: bytes) -> Key:
        """The key that `wrap` gave. Raises VaultError."""
        raw = self.open(wrapped)
        if len(raw) != _KEY_BYTES:
            raise VaultError("what was wrapped is no key")
        return Key(raw)


def data_key(encoded: str, sealing: str = "") -> Key:
    """The deployment's data key from its base64 form. `sealing` lists keys that seal in its place, as
    `sealing_keys` reads them."""
    raw = base64.b64decode(encoded)
    return Key(raw, sealing_keys(sealing, raw))


def sealing_keys(listed: str, data_key: bytes) -> list[bytes]:
    """The keys in a list of base64, separated by commas, in which `data` stands for the data key; none where it is
    empty. Raises ValueError, without any of them."""
    found = []
    for entry in filter(None, (entry.strip() for entry in listed.split(","))):
        try:
            found.append(data_key if entry == DATA else base64.b64decode(entry, validate=True))
        except ValueError:
            found.append(b"")
    if any(len(key) != _KEY_BYTES for key in found):
        raise ValueError(
            "must list keys of 32 bytes in base64, or data for the data key, separated by commas"
        )
    return found


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
