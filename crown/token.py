"""JSON Web Tokens, read strictly. The signature is PyJWT's to check; what it does around that, a step of Python for
each character, takes longer than the signature itself, and a socket's whole handshake waits for it."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec

# Seconds between a token's issue and its expiry, at most: what was revoked is remembered for a day longer.
LIFE_MOST_S = 7 * 86_400


class BadToken(Exception):
    """The text is no token, or not one that is good here; the message says what is wrong and no more."""


class _Header(msgspec.Struct, frozen=True, gc=False):
    alg: str
    kid: str = ""
    # Extensions that change what is signed, or that have to be understood. None is.
    crit: Any = msgspec.UNSET
    b64: Any = msgspec.UNSET


class Claims(msgspec.Struct, frozen=True, gc=False):
    """What a token says, as far as anybody here asks. Times are seconds since 1970."""

    iss: str
    aud: str | list[str]
    sub: str
    iat: int | float
    exp: int | float
    nbf: int | float = 0
    sid: str = ""
    use: Any = None
    scope: Any = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token whose signature nobody has checked yet."""

    algorithm: str
    key_id: str
    _signed: bytes
    _payload: str
    _signature: bytes

    def verify(self, key: jwt.PyJWK) -> Claims:
        """What it says. Raises BadToken where `key` did not sign it, or it says something else than claims."""
        # The key's own algorithm and no other: a token cannot choose how it is checked.
        if self.algorithm != key.algorithm_name:
            raise BadToken("algorithm")
        if not key.Algorithm.verify(self._signed, key.key, self._signature):
            raise BadToken("signature")
        try:
            return _claims.decode(_bytes(self._payload))
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadToken("claims") from error


_header = msgspec.json.Decoder(_Header)
_claims = msgspec.json.Decoder(Claims)


def read(text: str) -> Token:
    """The token in `text`. Raises BadToken."""
    try:
        header, payload, signature = text.split(".")
        said = _header.decode(_bytes(header))
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise BadToken("form") from error
    if said.crit is not msgspec.UNSET or said.b64 is not msgspec.UNSET:
        raise BadToken("extension")
    signed = f"{header}.{payload}".encode()
    return Token(said.alg, said.kid, signed, payload, _bytes(signature))


# Turns base64url into base64, and base64's own characters into what the decoder refuses.
_ALPHABET = bytes.maketrans(b"-_+/=", b"+/!!!")


def _bytes(part: str) -> bytes:
    """What unpadded base64url stands for. Raises BadToken, also where bits are set that stand for nothing."""
    try:
        text = part.encode("ascii").translate(_ALPHABET)
        raw = binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:
        raise BadToken("encoding") from error
    if binascii.b2a_base64(raw, newline=False).rstrip(b"=") != text:
        raise BadToken("encoding")
    return raw
