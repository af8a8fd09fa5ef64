"""Google's token endpoint for one service account: a signed assertion in, a bearer token out.

Tokens carry their expiry under a MAC, so that those issued before a restart stay good, as Google's do.
Google itself answers a bad assertion with 400; here it is 401, so that no one takes it for a bad request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from stack.sandbox.provider import Accepted, Answer, Call, Refused, json_answer

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
"""What google-auth puts in `aud` whatever the token_uri of the account is."""
SCOPES = frozenset(
    ("https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform")
)
LIFETIME_S = 3_599
ASSERTION_LIMIT_S = 3_600
SKEW_S = 300
"""How far ahead of ours the caller's clock may run."""


@dataclass(frozen=True, slots=True)
class Account:
    """The part of a service account that Google keeps: who it is, and the public half of its key."""

    project_id: str
    client_email: str
    key_id: str
    token_uri: str
    public_key: RSAPublicKey
    secret: bytes

    @classmethod
    def read(cls, path: Path) -> Account:
        """Raises ValueError saying what is wrong with the file, without quoting it."""
        try:
            data = json.loads(path.read_bytes())
            private = data["private_key"].encode()
            key = serialization.load_pem_private_key(private, None).public_key()
            names = (data["project_id"], data["client_email"], data["private_key_id"], data["token_uri"])
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a service account ({type(error).__name__})") from None
        if not isinstance(key, RSAPublicKey):
            raise ValueError(f"{path}: the private key is not RSA")
        return cls(*names, key, hashlib.sha256(b"sandbox token" + private).digest())


class Tokens:
    """Issues and checks access tokens; without an account there are none."""

    def __init__(self, account: Account | None, clock: Callable[[], float] = time.time) -> None:
        self._secret = account.secret if account else secrets.token_bytes(32)
        self._clock = clock

    def issue(self) -> str:
        """A token good for LIFETIME_S from now."""
        head = f"{int(self._clock()) + LIFETIME_S}.{secrets.token_urlsafe(24)}"
        return f"ya29.{head}.{self._seal(head).decode()}"

    def reason_against(self, token: str) -> str | None:
        """Google's reason why `token` is no good; None for a good one."""
        head, _, seal = token.removeprefix("ya29.").rpartition(".")
        if not token.startswith("ya29.") or not hmac.compare_digest(_bytes(seal), self._seal(head)):
            return "ACCESS_TOKEN_TYPE_UNSUPPORTED"
        expired = int(head.partition(".")[0]) <= self._clock()
        return "ACCESS_TOKEN_EXPIRED" if expired else None

    def _seal(self, head: str) -> bytes:
        mac = hmac.digest(self._secret, _bytes(head), "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=")


class OAuth:
    """POST /token."""

    name = "oauth"

    def __init__(
        self, account: Account | None, tokens: Tokens, clock: Callable[[], float] = time.time
    ) -> None:
        self._account = account
        self._tokens = tokens
        self._clock = clock

    def accept(self, call: Call) -> Accepted:
        """Raises Refused with Google's OAuth errors; `invalid_grant` for all that an assertion has wrong."""
        form = dict(parse_qsl(call.body.decode(errors="replace")))
        if form.get("grant_type") != GRANT:
            raise Refused(_error(400, "unsupported_grant_type", "Invalid grant_type"))
        if not form.get("assertion"):
            raise Refused(_error(400, "invalid_request", "Missing required parameter: assertion"))
        claims = self._claims(form["assertion"])
        if not SCOPES.intersection(str(claims.get("scope", "")).split()):
            raise Refused(_error(400, "invalid_scope", "The scopes do not allow sending messages"))
        token = {"access_token": self._tokens.issue(), "expires_in": LIFETIME_S, "token_type": "Bearer"}
        return Accepted(json_answer(200, token, {"Cache-Control": "no-store"}))

    def failure(self, status: int) -> Answer:
        if status == 401:
            return _error(status, "invalid_grant", "Invalid JWT")
        return _error(status, "internal_failure" if status >= 500 else "invalid_request")

    def _claims(self, assertion: str) -> Mapping[str, object]:
        if self._account is None:
            raise Refused(_error(401, "invalid_grant", "Invalid grant: account not found"))
        try:
            if jwt.get_unverified_header(assertion).get("kid") != self._account.key_id:
                raise Refused(_error(401, "invalid_grant", "Invalid JWT Signature."))
            claims: Mapping[str, object] = jwt.decode(
                assertion,
                self._account.public_key,
                algorithms=["RS256"],
                # Times are checked below, by this sandbox's own clock.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["aud"]},
                audience=[GOOGLE_AUDIENCE, self._account.token_uri],
            )
        except jwt.InvalidSignatureError:
            raise Refused(_error(401, "invalid_grant", "Invalid JWT Signature.")) from None
        except jwt.PyJWTError as error:
            raise Refused(_error(401, "invalid_grant", f"Invalid JWT: {error}")) from None
        if claims.get("iss") != self._account.client_email:
            raise Refused(_error(401, "invalid_grant", "Invalid grant: account not found"))
        if problem := self._untimely(claims.get("iat"), claims.get("exp")):
            raise Refused(_error(401, "invalid_grant", f"Invalid JWT: {problem}"))
        return claims

    def _untimely(self, issued: object, expires: object) -> str | None:
        now = self._clock()
        if not (isinstance(issued, int | float) and isinstance(expires, int | float)):
            return "iat and exp must be numbers"
        if issued > now + SKEW_S or expires <= now:
            return "it is not valid at this time; check the clock"
        if expires - issued > ASSERTION_LIMIT_S:
            return "its lifetime is longer than an hour"
        return None


def _bytes(text: str) -> bytes:
    # What came in a header may hold any byte, as a lone surrogate.
    return text.encode(errors="surrogateescape")


def _error(status: int, error: str, description: str = "") -> Answer:
    return json_answer(status, {"error": error, "error_description": description or error})
