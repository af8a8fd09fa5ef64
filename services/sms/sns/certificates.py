"""The certificates that SNS signs with. They are fetched from SNS itself and from nowhere else, over TLS that the
system's roots vouch for, without redirects, and kept for a day. So nobody else's certificate is ever looked at."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID

from crown.clock import Clock, now
from crown.egress import Egress
from crown.errors import ProviderUnavailable, SignatureInvalid
from crown.http import Answer, CallBroken, Http

T = TypeVar("T")

NOT_SIGNED = "not signed by SNS on a topic that is set here, or too old"
_HOST = re.compile(r"sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem")
_CONFIRMATION = re.compile(r"/?")
_NAME = re.compile(r"sns\.([a-z0-9-]+\.)?amazonaws\.com(\.cn)?")
_AWS = ("*.amazonaws.com", "*.amazonaws.com.cn")
_KEPT = timedelta(days=1)
_KEPT_MOST = 16
# What was no certificate is not asked for again before that.
_REFUSED_FOR = timedelta(minutes=1)
_REFUSED_MOST = 256
_SIZE_MOST_BYTES = 16 << 10
_KEY_LEAST_BITS = 2_048
_TIMEOUT_S = 5.0


class Certificates:
    """Fetches and keeps certificates. `hosts` may serve some besides SNS, as entries of an Egress, for a sandbox;
    those must have been issued by one of `issuers`, where there are any."""

    def __init__(
        self, hosts: Sequence[str] = (), issuers: Sequence[x509.Certificate] = (), clock: Clock = now
    ) -> None:
        self._aws, self._extra = Egress.of(_AWS), Egress.of(hosts)
        self._issuers = tuple(issuers)
        self._http = Http(2, _TIMEOUT_S, Egress.of((*_AWS, *hosts)))
        self._clock = clock
        self._keys: dict[str, tuple[datetime, RSAPublicKey]] = {}
        self._refused: dict[str, datetime] = {}
        self._one_at_a_time = asyncio.Lock()

    async def key(self, url: str) -> RSAPublicKey:
        """The key of the certificate at `url`. Raises SignatureInvalid where `url` or the certificate is none of
        SNS, ProviderUnavailable where it cannot be fetched for now."""
        if not self._may_call(url, _CERTIFICATE):
            raise SignatureInvalid(NOT_SIGNED)
        if (key := self._known(url)) is not None:
            return key
        # Whoever makes addresses up makes us ask for one at a time.
        async with self._one_at_a_time:
            return self._known(url) or await self._fetch(url)

    async def visit(self, url: str) -> None:
        """Calls `url`, an address of SNS that confirms a subscription. Raises as `key`."""
        confirms = "Action=ConfirmSubscription" in urlsplit(url).query.split("&")
        if not self._may_call(url, _CONFIRMATION) or not confirms:
            raise SignatureInvalid("not an address of SNS that confirms a subscription")
        if (await self._get(url)).status != 200:
            raise ProviderUnavailable("SNS does not confirm the subscription for now")

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    def _may_call(self, url: str, path: re.Pattern[str]) -> bool:
        if self._extra.problem(url) is None:
            return True
        if self._aws.problem(url) is not None:
            return False
        parts = urlsplit(url)
        return bool(_HOST.fullmatch(parts.hostname or "") and path.fullmatch(parts.path))

    def _known(self, url: str) -> RSAPublicKey | None:
        """The key, where it is kept. Raises SignatureInvalid where there was none a moment ago."""
        moment = self._clock()
        if self._refused.get(url, moment) > moment:
            raise SignatureInvalid(NOT_SIGNED)
        until, key = self._keys.get(url, (moment, None))
        return key if until > moment else None

    async def _fetch(self, url: str) -> RSAPublicKey:
        moment = self._clock()
        answer = await self._get(url)
        if answer.status >= 500:
            raise ProviderUnavailable("the certificate of SNS cannot be had for now")
        key = self._read(url, answer.body, moment) if answer.status == 200 else None
        if key is None:
            _keep(self._refused, url, moment + _REFUSED_FOR, _REFUSED_MOST)
            raise SignatureInvalid(NOT_SIGNED)
        _keep(self._keys, url, (moment + _KEPT, key), _KEPT_MOST)
        return key

    async def _get(self, url: str) -> Answer:
        try:
            return await self._http.get(url, {}, {})
        except CallBroken as broken:
            raise ProviderUnavailable(f"SNS cannot be reached ({broken.word})") from broken

    def _read(self, url: str, pem: bytes, moment: datetime) -> RSAPublicKey | None:
        """The key in a certificate; None where the certificate is not one that SNS would sign with."""
        if len(pem) > _SIZE_MOST_BYTES:
            return None
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            key = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm):
            return None
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            return None
        if not isinstance(key, RSAPublicKey) or key.key_size < _KEY_LEAST_BITS:
            return None
        if self._extra.problem(url) is None:
            good = not self._issuers or any(_issued(certificate, issuer) for issuer in self._issuers)
        else:
            good = any(_NAME.fullmatch(name) for name in _names(certificate))
        return key if good else None


def _keep(kept: dict[str, T], url: str, value: T, most: int) -> None:
    """Keeps the last `most`."""
    kept.pop(url, None)
    kept[url] = value
    while len(kept) > most:
        del kept[next(iter(kept))]


def _names(certificate: x509.Certificate) -> list[str]:
    """Whom a certificate is for."""
    found = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return found
    return found + others.get_values_for_type(x509.DNSName)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate == issuer:
        return True
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
