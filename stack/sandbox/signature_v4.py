"""AWS Signature Version 4, as the called side checks it: which key signed a request, whether over just these bytes,
and when. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from stack.sandbox.provider import Call

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_S = 300
"""How far apart the clocks of caller and AWS may be."""

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[^/,\s]+)/(?P<date>[0-9]{{8}})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)"
    r"/aws4_request, ?SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})\Z"
)
_MOMENT = "%Y%m%dT%H%M%SZ"


class Problem(NamedTuple):
    """Why a request is refused, in AWS's own words."""

    status: int
    code: str
    message: str


_MISSING = Problem(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
_INCOMPLETE = Problem(
    400, "IncompleteSignature", "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders'."
)
_UNKNOWN_KEY = Problem(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
_WRONG = "SignatureDoesNotMatch"
_MISMATCH = Problem(
    403,
    _WRONG,
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
    "Key and signing method. Consult the service documentation for details.",
)


class SignatureV4:
    """Checks requests to `service` signed with `key` ("ACCESS_KEY_ID:SECRET"); without one nobody has a key."""

    def __init__(self, key: str | None, service: str, clock: Callable[[], float]) -> None:
        self._key_id, _, self._secret = (key or "").partition(":")
        self._service = service
        self._clock = clock
        self._signing_key: tuple[str, str, bytes] = ("", "", b"")

    def problem(self, call: Call, path: str) -> Problem | None:
        """What is wrong with the signature of `call`, which came to `path`; None for a good one."""
        given = call.headers.get("Authorization")
        if not given:
            return _MISSING
        found = _AUTHORIZATION.match(given)
        moment = call.headers.get("X-Amz-Date", "")
        if found is None or "host" not in (names := found["headers"].split(";")) or not moment:
            return _INCOMPLETE
        if not self._key_id or not hmac.compare_digest(found["key"].encode(), self._key_id.encode()):
            return _UNKNOWN_KEY
        if found["service"] != self._service:
            return Problem(
                403, _WRONG, f"Credential should be scoped to correct service: '{self._service}'. "
            )
        scope = f"{found['date']}/{found['region']}/{self._service}/aws4_request"
        told = "\n".join((ALGORITHM, moment, scope, _hash(_canonical(call, path, names).encode())))
        expected = hmac.digest(self._key_for(found["date"], found["region"]), told.encode(), "sha256").hex()
        if not hmac.compare_digest(found["signature"], expected):
            return _MISMATCH
        return self._untimely(moment, found["date"])

    def _untimely(self, moment: str, date: str) -> Problem | None:
        try:
            signed = datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return _INCOMPLETE
        if moment[:8] != date:
            return Problem(
                403, _WRONG, f"Date in Credential scope does not match YYYYMMDD from ISO-8601: {date}"
            )
        now = self._clock()
        if abs(now - signed) <= SKEW_S:
            return None
        what, side = ("expired", "earlier") if signed < now else ("not yet current", "later")
        limit = datetime.fromtimestamp(now, UTC).strftime(_MOMENT)
        return Problem(403, _WRONG, f"Signature {what}: {moment} is now {side} than {limit} (5 min.)")

    def _key_for(self, date: str, region: str) -> bytes:
        if self._signing_key[:2] != (date, region):
            key = f"AWS4{self._secret}".encode()
            for step in (date, region, self._service, "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._signing_key = (date, region, key)
        return self._signing_key[2]


def _canonical(call: Call, path: str, names: Sequence[str]) -> str:
    query = "&".join(
        f"{name}={value}" for name, value in sorted((_coded(k), _coded(v)) for k, v in call.query)
    )
    headers = "".join(f"{name}:{' '.join(call.headers.get(name, '').split())}\n" for name in names)
    return "\n".join((call.method, quote(path), query, headers, ";".join(names), _hash(call.body)))


def _coded(text: str) -> str:
    return quote(text, safe="-_.~")


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
