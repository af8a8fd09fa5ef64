"""Signs as SNS does, with a certificate of one's own making."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-west-1:123456789012:texts"
_FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
    "UnsubscribeConfirmation": (
        "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
    ),
}  # fmt: skip


class Signer:
    """A key with its certificate."""

    def __init__(
        self, name: str = "sns.amazonaws.com", *, bits: int = 2048, issuer: Signer | None = None, **times: Any
    ) -> None:
        self.key = rsa.generate_private_key(65537, bits)
        moment = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate: x509.Certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(times.get("begins", moment - timedelta(days=1)))
            .not_valid_after(times.get("ends", moment + timedelta(days=1)))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(issuer.key if issuer else self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, body: dict[str, Any], version: str = "2") -> dict[str, Any]:
        """`body` with its signature."""
        told = "".join(f"{name}\n{body[name]}\n" for name in _FIELDS[body["Type"]] if name in body)
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = self.key.sign(told.encode(), PKCS1v15(), algorithm)
        return {**body, "SignatureVersion": version, "Signature": base64.b64encode(signature).decode()}


def elliptic_certificate() -> bytes:
    """One whose key is not RSA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    moment = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def notification(url: str, message: Any, **more: Any) -> dict[str, Any]:
    """As SNS posts it, without a signature."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "SigningCertURL": url,
        **more,
    }


def subscription(url: str, subscribe_url: str, **more: Any) -> dict[str, Any]:
    """As SNS asks whether a subscription is wanted."""
    asks = {"Type": "SubscriptionConfirmation", "Token": "2336412f37", "SubscribeURL": subscribe_url}
    return notification(url, "You have chosen to subscribe", **asks, **more)
