"""Tokens that nobody may accept, each wrong in one way."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from stack.control import Stack
from stack.keys import key_id
from stack.secrets import read
from stack.tokens import AUDIENCE, ISSUER, SCOPES


def claims(**more: object) -> dict[str, object]:
    """The claims of a service that may do anything, but for `more`; None leaves one out."""
    now = int(time.time())
    full: dict[str, object] = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "feed", "iat": now, "exp": now + 600,
        "use": "service", "scope": " ".join(SCOPES),
    }  # fmt: skip
    return {name: value for name, value in {**full, **more}.items() if value is not None}


def signed(stack: Stack, header: dict[str, object] | None = None, **more: object) -> str:
    """A token that is signed as it should be, with these claims."""
    key = read(stack.secrets.signing_key())
    return jwt.encode(claims(**more), key, "ES256", headers={"kid": key_id(key), **(header or {})})


def _by_somebody_else(stack: Stack) -> str:
    headers = {"kid": key_id(read(stack.secrets.signing_key()))}
    return jwt.encode(claims(), ec.generate_private_key(ec.SECP256R1()), "ES256", headers=headers)


def _with_its_own_key(stack: Stack) -> str:
    """Brings the key that it is signed with along, under the name of the good one."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    headers = {
        "kid": key_id(read(stack.secrets.signing_key())),
        "jwk": own,
        "jku": "https://evil.example/jwks",
    }
    return jwt.encode(claims(), key, "ES256", headers=headers)


def _unsigned(stack: Stack) -> str:
    kid = key_id(read(stack.secrets.signing_key()))
    return f"{_part({'alg': 'none', 'typ': 'JWT', 'kid': kid})}.{_part(claims())}."


def _with_the_public_key_as_secret(stack: Stack) -> str:
    # By hand: PyJWT refuses to make such a thing.
    kid = key_id(read(stack.secrets.signing_key()))
    unsigned = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{_part(claims())}"
    digest = hmac.digest(stack.secrets.jwks().read_bytes(), unsigned.encode(), "sha256")
    return f"{unsigned}.{urlsafe_b64encode(digest).decode().rstrip('=')}"


def _changed_after_signing(stack: Stack) -> str:
    head, _, signature = signed(stack, sub="ads").split(".")
    return f"{head}.{_part(claims(sub='feed'))}.{signature}"


def _part(content: object) -> str:
    return urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


FORGED: dict[str, Callable[[Stack], str]] = {
    "expired": lambda stack: signed(stack, exp=int(time.time()) - 3600),
    "for another audience": lambda stack: signed(stack, aud="another-suite"),
    "for no audience": lambda stack: signed(stack, aud=None),
    "by another issuer": lambda stack: signed(stack, iss="https://evil.example"),
    "no issuer": lambda stack: signed(stack, iss=None),
    "never expires": lambda stack: signed(stack, exp=None),
    "not yet": lambda stack: signed(stack, nbf=int(time.time()) + 3600),
    "unknown key": lambda stack: signed(stack, {"kid": "nobody's"}),
    "key by path": lambda stack: signed(stack, {"kid": "../../../../dev/null"}),
    "for nothing": lambda stack: signed(stack, use=None),
    "for everything": lambda stack: signed(stack, use="root"),
    "nobody's": lambda stack: signed(stack, sub=None),
    "key of its own": _with_its_own_key,
    "issued in the future": lambda stack: signed(stack, iat=int(time.time()) + 3600),
    "for a list of uses": lambda stack: signed(stack, use=["service"]),
    "an extension": lambda stack: signed(stack, {"crit": ["exp"]}),
    "by somebody else": _by_somebody_else,
    "unsigned": _unsigned,
    "public key as secret": _with_the_public_key_as_secret,
    "changed after signing": _changed_after_signing,
    "garbage": lambda _: "garbage",
    "garbage in three parts": lambda _: "a.b.c",
    "dots": lambda _: "..",
}

# Good tokens for somebody else; the rest are no tokens. Without any audience it is either.
MISDIRECTED = {"for another audience", "for no audience"}


def statuses(name: str) -> set[tuple[int, int]]:
    """The pairs of HTTP status and gRPC number that the forgery may be answered with."""
    told = {(403, 7)} if name in MISDIRECTED else {(401, 16)}
    return told | {(401, 16)} if name == "for no audience" else told
