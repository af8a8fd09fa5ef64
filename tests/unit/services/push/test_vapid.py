"""Who we are to a push service."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.push.web_push.crypto import decoded, encoded
from services.push.web_push.vapid import Vapid, private_key

CONTACT = "mailto:ops@crown.example"
NOW_S = 1_795_000_000.0
PEM = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Clock:
    """Time that the test moves."""

    now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def claims(header: str, vapid: Vapid) -> dict[str, object]:
    """What the header claims, its signature checked as a push service does."""
    scheme, _, fields = header.partition(" ")
    assert scheme == "vapid"
    token, key = (part.strip().partition("=")[2] for part in fields.split(","))
    assert key == vapid.public_key
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(key))
    found: dict[str, object] = jwt.decode(
        token, public, ["ES256"], options={"verify_exp": False, "verify_aud": False}
    )
    return found


def test_it_is_signed_for_the_origin() -> None:
    vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), CONTACT, Clock())
    header = vapid.authorization("https://Push.example.org:8443/a/b?c")
    assert claims(header, vapid) == {
        "aud": "https://push.example.org:8443",
        "exp": int(NOW_S) + 12 * 3_600,
        "sub": CONTACT,
    }


def test_one_for_each_origin_until_half_its_life_is_over() -> None:
    clock = Clock()
    vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), CONTACT, clock)
    first = vapid.authorization("https://a.example/1")
    assert vapid.authorization("https://a.example/2") == first
    assert vapid.authorization("https://b.example/1") != first
    clock.now_s += 6 * 3_600
    assert vapid.authorization("https://a.example/1") == first
    clock.now_s += 1
    assert vapid.authorization("https://a.example/1") != first


def test_many_origins_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.push.web_push.vapid._ORIGINS_MOST", 3)
    vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), CONTACT)
    for number in range(10):
        vapid.authorization(f"https://{number}.example/")
    assert len(vapid._kept) <= 3


def test_a_key_in_both_forms() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    raw = key.private_numbers().private_value.to_bytes(32)
    pem = key.private_bytes(*PEM).decode()
    assert private_key(encoded(raw)).private_numbers() == key.private_numbers()
    assert private_key(f"\n{pem}").private_numbers() == key.private_numbers()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        encoded(b"\x00" * 32),
        encoded(b"\xff" * 32),
        "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----",
        ec.generate_private_key(ec.SECP384R1()).private_bytes(*PEM).decode(),
        rsa.generate_private_key(65_537, 2_048).private_bytes(*PEM).decode(),
    ],
)
def test_no_key(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each says its own
        private_key(text)
