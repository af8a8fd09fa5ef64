"""Encryption for browsers: the example of RFC 8291, section 5 and appendix A, and there and back."""

from __future__ import annotations

import os
import struct

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from services.push.web_push.crypto import (
    BODY_MOST_BYTES,
    PLAIN_MOST_BYTES,
    _keys,
    browser_key,
    decoded,
    encoded,
    encrypt,
    point,
    shared_secret,
)

PLAIN = b"When I grow up, I want to be a watermelon"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
BROWSER = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
OWN = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
    "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def private(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decoded(text)), ec.SECP256R1())


def opened(body: bytes, browser: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """What a browser reads."""
    salt, (record, length) = body[:16], struct.unpack("!IB", body[16:21])
    assert (record, length) == (4_096, 65)
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), body[21:86])
    secret = browser.exchange(ec.ECDH(), theirs)
    key, nonce = _keys(secret, auth, point(browser.public_key()), body[21:86], salt)
    padded = AESGCM(key).decrypt(nonce, body[86:], None)
    assert padded[-1:] == b"\x02"
    return padded[:-1]


def test_the_example_of_the_rfc() -> None:
    assert encoded(encrypt(PLAIN, P256DH, AUTH, private(OWN), decoded(SALT))) == BODY
    assert opened(decoded(BODY), private(BROWSER), decoded(AUTH)) == PLAIN


@settings(deadline=None, max_examples=30)
@given(plain=st.binary(max_size=200))
def test_there_and_back(plain: bytes) -> None:
    browser, auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    body = encrypt(plain, encoded(point(browser.public_key())), encoded(auth))
    assert opened(body, browser, auth) == plain
    with pytest.raises(InvalidTag):
        opened(body[:-1] + bytes([body[-1] ^ 1]), browser, auth)


def test_each_message_has_a_key_and_a_salt_of_its_own() -> None:
    one, other = encrypt(PLAIN, P256DH, AUTH), encrypt(PLAIN, P256DH, AUTH)
    assert one[:16] != other[:16]
    assert one[21:86] != other[21:86]


def test_as_much_as_fits() -> None:
    assert PLAIN_MOST_BYTES == 3_993
    assert len(encrypt(b"x" * PLAIN_MOST_BYTES, P256DH, AUTH)) == BODY_MOST_BYTES
    with pytest.raises(ValueError, match="3993"):
        encrypt(b"x" * (PLAIN_MOST_BYTES + 1), P256DH, AUTH)


def test_padding_is_as_one_likes() -> None:
    assert point(browser_key(P256DH + "=")) == decoded(P256DH)
    assert shared_secret(AUTH + "==") == shared_secret(AUTH)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "B" * 87,
        "A" * 87,
        encoded(b"\x04" + b"\x01" * 64),
        encoded(b"\x02" + decoded(P256DH)[1:33]),
        P256DH[:-4],
    ],
)
def test_no_key(key: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each says its own
        browser_key(key)


@pytest.mark.parametrize("auth", ["", "AAAA", "A" * 23, AUTH + "AA", "*" * 22])
def test_no_secret(auth: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each says its own
        shared_secret(auth)
