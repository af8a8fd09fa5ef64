"""Messages of an SNS topic: delivery events of text messages, as AWS End User Messaging writes them, texts that
people send, and the question whether a subscription is wanted.

Signing: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html; events:
https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-types.html; read 2026-11.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from stack.sandbox.callback import Callback, Request, Signed, Told
from stack.sandbox.twilio_text import segments
from stack.stamps import stamp

PATH = "/webhooks/sns"
CERTIFICATE_PATH = "/sns/SimpleNotificationService-sandbox.pem"
OLD_S = 24 * 3_600

_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_NOT_FINAL = frozenset(("TEXT_QUEUED", "TEXT_PENDING", "TEXT_SENT", "TEXT_SUCCESSFUL"))


class SnsCallbacks:
    """Calls the gateway on `topic`. `signer` is a private RSA key and its certificate, in PEM. `origin` is where the
    certificate is served, known once the sandbox listens."""

    batch = 1
    usual = (Callback("TEXT_QUEUED", 0.05), Callback("TEXT_DELIVERED", 0.8))

    def __init__(self, gateway_url: str, topic: str, signer: bytes, clock: Callable[[], float]) -> None:
        key = serialization.load_pem_private_key(signer, None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("the key of the SNS signer is none of RSA")
        self._key = key
        certificate = x509.load_pem_x509_certificates(signer)[0]
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self._url = f"{gateway_url}{PATH}"
        self.topic = topic
        self._clock = clock
        self.origin = ""
        # Tokens of questions that nobody has answered yet.
        self._asked: set[str] = set()

    def call(self, told: Sequence[Told]) -> Request:
        """The call about one message."""
        (one,) = told
        return self._notification(_event(one, int(self._clock() * 1_000)), one.signed)

    def inbound(self, number: str, to: str, text: str) -> Request:
        """The call that brings a person's text."""
        message = {
            "originationNumber": number,
            "destinationNumber": to,
            "messageKeyword": text.split(" ")[0].upper(),
            "messageBody": text,
            "inboundMessageId": str(uuid4()),
        }
        return self._notification(message, "right")

    def question(self) -> Request:
        """The call that asks whether the topic is wanted; who wants it visits the address that it names."""
        token = secrets.token_hex(32)
        self._asked.add(token)
        query = f"Action=ConfirmSubscription&TopicArn={self.topic}&Token={token}"
        text = f"You have chosen to subscribe to the topic {self.topic}."
        more = {"SubscribeURL": f"{self.origin}/sns/?{query}", "Token": token}
        return self._posted("SubscriptionConfirmation", text, more, _CONFIRMATION, "right")

    def confirm(self, token: str) -> bool:
        """Somebody visits; whether that was asked."""
        known = token in self._asked
        self._asked.discard(token)
        return known

    def _notification(self, message: Mapping[str, Any], signed: Signed) -> Request:
        return self._posted("Notification", msgspec.json.encode(message).decode(), {}, _NOTIFICATION, signed)

    def _posted(
        self, kind: str, message: str, more: Mapping[str, str], names: Sequence[str], signed: Signed
    ) -> Request:
        envelope = {
            "Type": kind,
            "MessageId": str(uuid4()),
            "TopicArn": self.topic,
            "Message": message,
            "Timestamp": stamp(self._clock() - (OLD_S if signed == "old" else 0)),
            "SignatureVersion": "2",
            "SigningCertURL": f"{self.origin}{CERTIFICATE_PATH}",
            **more,
        }
        if signed != "missing":
            told = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope)
            content = b"something else" if signed == "wrong" else told.encode()
            envelope["Signature"] = base64.b64encode(self._key.sign(content, PKCS1v15(), SHA256())).decode()
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "x-amz-sns-message-type": kind,
            "x-amz-sns-message-id": envelope["MessageId"],
            "x-amz-sns-topic-arn": self.topic,
        }
        return Request(self._url, headers, msgspec.json.encode(envelope))


def _event(told: Told, now_ms: int) -> dict[str, Any]:
    word = told.event.removeprefix("TEXT_")
    return {
        "eventType": told.event,
        "eventVersion": "1.0",
        "eventTimestamp": now_ms,
        "isFinal": told.event not in _NOT_FINAL,
        "originationPhoneNumber": told.draft.sender,
        "destinationPhoneNumber": told.draft.recipient,
        "isoCountryCode": "US",
        "messageId": told.message_id,
        "messageRequestTimestamp": now_ms,
        "messageEncoding": "GSM",
        "messageType": "TRANSACTIONAL",
        "messageStatus": word,
        "messageStatusDescription": f"The sandbox says {word}",
        "totalMessageParts": segments(told.draft.text),
        "totalMessagePrice": 0.0,
        "totalCarrierFee": 0.0,
    }
