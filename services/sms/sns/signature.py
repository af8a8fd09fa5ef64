"""Whether a call is of SNS: of a topic that is configured, signed with a certificate of SNS, and not old. In this
order, so that nothing is called because of somebody who knows no topic of ours."""

from __future__ import annotations

import base64
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from crown.clock import Clock, now
from crown.errors import SignatureInvalid
from services.sms.sns.certificates import NOT_SIGNED, Certificates

NOTIFICATION = "Notification"
SUBSCRIPTION = "SubscriptionConfirmation"
_ENDED = "UnsubscribeConfirmation"
# What is signed, in this order, by the type of the message.
_ASKS = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: _ASKS,
    _ENDED: _ASKS,
}
_AGE_MOST = timedelta(hours=1)
_AHEAD_MOST = timedelta(minutes=5)


class Envelope(msgspec.Struct, frozen=True, rename="pascal"):
    """What SNS posts. `message` is what was published, or words for a person."""

    type: str
    message_id: str
    topic_arn: str
    message: str
    timestamp: str
    signature_version: str
    signature: str
    signing_cert_url: str = msgspec.field(name="SigningCertURL")
    subject: str | None = None
    subscribe_url: str | None = msgspec.field(name="SubscribeURL", default=None)
    token: str | None = None

    @property
    def time(self) -> datetime:
        """When SNS sent it. Raises ValueError."""
        moment = datetime.fromisoformat(self.timestamp)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is of; what is not there is left out. Raises KeyError for a type that SNS
        does not have."""
        values = msgspec.to_builtins(self)
        present = ((name, values[name]) for name in _SIGNED[self.type] if values[name] is not None)
        return "".join(f"{name}\n{value}\n" for name, value in present).encode()


_decoder = msgspec.json.Decoder(Envelope)


class SnsSignature:
    """Opens what comes on `topics`; without any, nothing is good."""

    def __init__(self, certificates: Certificates, topics: Collection[str], clock: Clock = now) -> None:
        self._certificates = certificates
        self._topics = frozenset(topics)
        self._clock = clock

    async def open(self, body: bytes) -> Envelope:
        """What `body` holds. Raises SignatureInvalid, the same whatever is wrong; ProviderUnavailable where the
        certificate cannot be fetched."""
        envelope = self._read(body)
        if envelope is None or envelope.topic_arn not in self._topics:
            raise SignatureInvalid(NOT_SIGNED)
        key = await self._certificates.key(envelope.signing_cert_url)
        if not _verifies(key, envelope) or not self._is_fresh(envelope):
            raise SignatureInvalid(NOT_SIGNED)
        return envelope

    def _read(self, body: bytes) -> Envelope | None:
        try:
            envelope = _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return envelope if envelope.type in _SIGNED else None

    def _is_fresh(self, envelope: Envelope) -> bool:
        try:
            age = self._clock() - envelope.time
        except ValueError:
            return False
        return -_AHEAD_MOST <= age <= _AGE_MOST


def _verifies(key: RSAPublicKey, envelope: Envelope) -> bool:
    match envelope.signature_version:
        case "1":
            algorithm: SHA1 | SHA256 = SHA1()  # noqa: S303 -- what SNS signs with unless it is told otherwise
        case "2":
            algorithm = SHA256()
        case _:
            return False
    try:
        key.verify(
            base64.b64decode(envelope.signature, validate=True), envelope.signed, PKCS1v15(), algorithm
        )
    except (InvalidSignature, ValueError):
        return False
    return True
