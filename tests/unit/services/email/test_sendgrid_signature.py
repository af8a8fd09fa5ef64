"""What claims to be SendGrid: only its own words, whole and fresh, are let in."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from sendgrid.helpers.eventwebhook import EventWebhook

from crown.errors import SignatureInvalid
from services.email.sendgrid.signature import SendGridSignature, keys
from tests.sendgrid_signer import Signer

SIGNER, OTHER = Signer(), Signer()
NOW = 1_795_600_000
STAMP = str(NOW)
BODY = b'[{"event":"processed"}]\r\n'
SIGNED = SIGNER.sign(STAMP, BODY)


def taken(signature: str, stamp: str, body: bytes, known: str = SIGNER.public, now: int = NOW) -> bool:
    signatures = SendGridSignature(keys(known), lambda: datetime.fromtimestamp(now, UTC))
    try:
        signatures.check(signature, stamp, body)
    except SignatureInvalid:
        return False
    return True


def test_what_sendgrid_signs_is_taken_as_its_own_library_takes_it() -> None:
    assert taken(SIGNED, STAMP, BODY)
    library = EventWebhook(SIGNER.public)
    assert library.verify_signature(BODY.decode(), SIGNED, STAMP)


def test_one_of_several_keys_fits() -> None:
    assert taken(SIGNED, STAMP, BODY, f"{OTHER.public}, {SIGNER.public}")
    assert not taken(SIGNED, STAMP, BODY, OTHER.public)


def test_without_a_key_nothing_is_taken() -> None:
    assert not taken(SIGNED, STAMP, BODY, "")


def test_every_altered_byte_is_seen() -> None:
    for place in range(len(BODY)):
        for mask in (1, 128):
            altered = bytearray(BODY)
            altered[place] ^= mask
            assert not taken(SIGNED, STAMP, bytes(altered))
    for place in range(len(STAMP)):
        assert not taken(SIGNED, STAMP[:place] + "7" + STAMP[place + 1 :], BODY) or STAMP[place] == "7"
    raw = base64.b64decode(SIGNED)
    for place in range(len(raw)):
        altered = bytearray(raw)
        altered[place] ^= 1
        assert not taken(base64.b64encode(altered).decode(), STAMP, BODY)


def test_a_digit_cannot_move_from_the_body_to_the_time() -> None:
    """The bytes that are signed are the same then: it is the age that tells."""
    signed = SIGNER.sign(STAMP, b"1[]")
    assert taken(signed, STAMP, b"1[]")
    assert not taken(signed, f"{STAMP}1", b"[]")


@pytest.mark.parametrize(
    ("age", "good"), [(0, True), (300, True), (301, False), (-300, True), (-301, False), (10**9, False)]
)
def test_age(age: int, good: bool) -> None:
    assert taken(SIGNED, STAMP, BODY, now=NOW + age) is good


@pytest.mark.parametrize("stamp", ["", "x", "-1", "1e9", "٣", f" {STAMP}", f"{STAMP}.0", "9" * 5_000])
def test_a_time_that_is_none(stamp: str) -> None:
    assert not taken(SIGNER.sign(stamp, BODY), stamp, BODY)


@pytest.mark.parametrize(
    "signature",
    ["", "x", "====", "AAAA", "é", SIGNED[:-4], f"{SIGNED}AAAA", SIGNED.replace("M", "*", 1), "A" * 9_999],
)
def test_a_signature_that_is_none(signature: str) -> None:
    assert not taken(signature, STAMP, BODY)


@given(st.text(), st.text(), st.binary())
def test_anything_is_refused_quietly(signature: str, stamp: str, body: bytes) -> None:
    assert not taken(signature, stamp.encode("utf-8", "replace").decode(), body)


def _public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


@pytest.mark.parametrize(
    "written",
    [
        "x",
        "AAAA",
        "-----BEGIN PUBLIC KEY-----",
        f"{SIGNER.public},x",
        _public(ec.generate_private_key(ec.SECP384R1())),
        _public(rsa.generate_private_key(65537, 2048)),
    ],
    ids=["x", "AAAA", "PEM", "one of two", "P-384", "RSA"],
)
def test_a_key_that_is_none(written: str) -> None:
    with pytest.raises(ValueError, match=r"^must be the verification key of a signed event webhook"):
        keys(written)
