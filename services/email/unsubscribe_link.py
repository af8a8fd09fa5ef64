"""The links by which people unsubscribe. A link holds whom and what from, sealed: nobody else can make one, read
one, or turn one into another. It needs no login and no row in the store, so it also works long after the mail.

    base64url( version 1 · tag of the key 4 · AES-SIV 16 · category 1 · last day 2 · user id )

AES-SIV, because it needs no chance: every attempt at a mail has the same link, and so the same bytes."""

from __future__ import annotations

import base64
import hmac
import struct
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from crown.catalogue import CATEGORIES
from crown.clock import Clock, now
from crown.notification.v1.types_pb2 import Category
from crown.vault import Key

# Senders of bulk mail are to keep their links working for 60 days; people clean up later than that.
GOOD_FOR_DAYS = 180
PATH = "/unsubscribe/"
# In a list of keys: the one that follows from the data key, which signs where no list is given.
DERIVED = "data"

_VERSION = b"\x01"
_KEY_BYTES = 32
_TAG_BYTES = 4
_FIXED = struct.Struct(">BH")
_DAY_0 = datetime(1970, 1, 1, tzinfo=UTC)


class UnsubscribeLinks:
    """Makes and reads links at the gateway of `gateway_url`, `https://host`; where that is empty, there are
    none. Of `keys`, by their ids, the first makes links and all read them: to rotate, put a new one in front."""

    def __init__(self, keys: Mapping[str, bytes], gateway_url: str, clock: Clock = now) -> None:
        self._keys = {_tag(name): AESSIV(key) for name, key in keys.items()}
        self._signing = next(iter(self._keys))
        self._gateway_url = gateway_url
        self._clock = clock

    def url(self, user_id: str, category: Category.Type.ValueType) -> str:
        """The link that turns e-mails of `category` off for a person. Empty for security, which cannot be turned
        off, and where there is no person."""
        if (
            not self._gateway_url
            or not user_id
            or category not in CATEGORIES
            or category == Category.SECURITY
        ):
            return ""
        last_day = (self._clock() + timedelta(days=GOOD_FOR_DAYS) - _DAY_0).days
        head = _VERSION + self._signing
        sealed = self._keys[self._signing].encrypt(
            _FIXED.pack(category, last_day) + user_id.encode(), [PATH.encode(), head]
        )
        return f"{self._gateway_url}{PATH}{_text(head + sealed)}"

    def read(self, token: str) -> tuple[str, Category.Type.ValueType] | None:
        """The user id and the category of a link; None where it is not ours, was altered, or is too old. All of
        these take the same way here: nothing tells one from another."""
        raw = _bytes(token)
        head, sealed = raw[: 1 + _TAG_BYTES], raw[1 + _TAG_BYTES :]
        key = self._keys.get(head[1:])
        if key is None or head[:1] != _VERSION:
            return None
        try:
            plain = key.decrypt(sealed, [PATH.encode(), head])
        except (InvalidTag, ValueError):
            return None
        category, last_day = _FIXED.unpack_from(plain)
        if (self._clock() - _DAY_0).days > last_day:
            return None
        return plain[_FIXED.size :].decode(), category


def keys(written: str, data_key: Key) -> dict[str, bytes]:
    """The keys in a list `id:base64,id:base64`, in which `data` alone stands for the one that follows from the
    data key; where nothing is written, that one. Raises ValueError, without any value."""
    found: dict[str, bytes] = {}
    for entry in written.split(",") if written.strip() else [DERIVED]:
        name, _, encoded = entry.strip().partition(":")
        if name in found:
            raise ValueError("names a key twice")
        found[name] = _derived(data_key) if entry.strip() == DERIVED else _key(name, encoded)
    return found


def _derived(data_key: Key) -> bytes:
    return hmac.digest(data_key.raw, b"unsubscribe", "sha256")


def _key(name: str, encoded: str) -> bytes:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        raw = b""
    if not name or len(raw) != _KEY_BYTES:
        raise ValueError("must list keys as id:base64, of 32 bytes each")
    return raw


def _tag(name: str) -> bytes:
    """Names a key in a link, at the same length for every name."""
    return blake2b(name.encode(), digest_size=_TAG_BYTES, person=b"unsubscribe").digest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(token: str) -> bytes:
    """What `token` stands for; empty where it is not exactly what `_text` makes of that."""
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except ValueError:
        return b""
    return raw if _text(raw) == token else b""
