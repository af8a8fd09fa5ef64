"""Makes the key pairs of a stack: one signs its tokens, one is its Firebase service account's, and so on."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from stack.errors import StackError

SIGNING_ALGORITHM = "ES256"
_VAPID_BYTES = 32


def new_signing_key() -> str:
    """A private P-256 key in PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def key_id(signing_key: str) -> str:
    """The `kid` of a signing key: the RFC 7638 thumbprint of its public half."""
    return _thumbprint(_public_jwk(signing_key))


def jwks(signing_key: str) -> str:
    """The key set that verifies what `signing_key` signs."""
    public = _public_jwk(signing_key)
    described = {**public, "kid": _thumbprint(public), "alg": SIGNING_ALGORITHM, "use": "sig"}
    return json.dumps({"keys": [described]}, indent=2)


def public_der(signing_key: str) -> str:
    """The public half of a key in PEM: base64 of its DER form, without line breaks."""
    key = serialization.load_pem_private_key(signing_key.encode(), password=None).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def new_vapid_key() -> str:
    """A private P-256 key as 32 bytes in base64url, without padding."""
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return base64.urlsafe_b64encode(number.to_bytes(_VAPID_BYTES)).rstrip(b"=").decode()


def vapid_public_key(private: str) -> str:
    """What web apps subscribe with, in the same form. Raises StackError where `private` is no such key."""
    try:
        raw = base64.urlsafe_b64decode(private + "=")
        if len(raw) != _VAPID_BYTES:
            raise ValueError("of another length")
        key = ec.derive_private_key(int.from_bytes(raw), ec.SECP256R1()).public_key()
    except ValueError:
        raise StackError("that is no private key: 32 bytes in base64url") from None
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def new_service_account(token_url: str) -> str:
    """The JSON of a Firebase service account with a key of its own."""
    account = "crown-push@crown-sandbox.iam.gserviceaccount.com"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "crown-sandbox",
            "private_key_id": secrets.token_hex(20),
            "private_key": _pem(key),
            "client_email": account,
            "client_id": str(secrets.randbelow(10**21)),
            "auth_uri": token_url,
            "token_uri": token_url,
        },
        indent=2,
    )


def _public_jwk(signing_key: str) -> dict[str, str]:
    private = serialization.load_pem_private_key(signing_key.encode(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError("the signing key is not an elliptic curve key")
    public = jwt.algorithms.ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return {name: str(public[name]) for name in ("crv", "kty", "x", "y")}


def _thumbprint(public: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(public, sort_keys=True, separators=(",", ":")).encode()).digest()
    return jwt.utils.base64url_encode(digest).decode()


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
