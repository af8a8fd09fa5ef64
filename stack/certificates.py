"""Makes certificates: those that the parts of a stack show each other, under an authority of its own, and the one
that SNS messages of the sandbox are signed under."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SNS_NAME = "sns.amazonaws.com"
"""Whom the certificates of SNS are made out to."""

LIFE = timedelta(days=90)
"""How long a part's certificate is good."""

RENEWED = timedelta(days=30)
"""How long before its end it is renewed."""

_LONG = timedelta(days=3_650)
_SKEW = timedelta(days=1)


def new_signer() -> str:
    """In PEM: an RSA key, as SNS signs with, its certificate, and that of the issuer, whose key is thrown away."""
    issuer_key = ec.generate_private_key(ec.SECP256R1())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    root = _root(issuer_key, "Crown sandbox")
    leaf = _leaf(SNS_NAME, key.public_key(), issuer_key, root, [ExtendedKeyUsageOID.SERVER_AUTH], _LONG)
    return (_private(key) + _public(leaf) + _public(root)).decode()


def new_authority() -> str:
    """In PEM: the key and the certificate of an authority, which signs those of the parts."""
    key = ec.generate_private_key(ec.SECP256R1())
    return (_private(key) + _public(_root(key, "Crown stack"))).decode()


def authority(made: str) -> str:
    """The certificate out of what `new_authority` made."""
    return _public(x509.load_pem_x509_certificate(made.encode())).decode()


def new_part(made: str, name: str, life: timedelta = LIFE) -> tuple[str, str]:
    """The certificate of the part `name`, and its key, in PEM: it is shown to who calls and to who is called."""
    signer = serialization.load_pem_private_key(made.encode(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    root = x509.load_pem_x509_certificate(made.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _public(_leaf(name, key.public_key(), signer, root, uses, life)).decode(), _private(key).decode()


def due(certificate: str) -> bool:
    """Whether a certificate, in PEM, is to be renewed."""
    end = x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
    return end - datetime.now(UTC) < RENEWED


def issuer(signer: str) -> str:
    """The issuer's certificate out of what `new_signer` made."""
    return _public(x509.load_pem_x509_certificates(signer.encode())[1]).decode()


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _root(key: ec.EllipticCurvePrivateKey, called: str) -> x509.Certificate:
    name = _name(called)
    return (
        _built(name, name, key.public_key(), key.public_key(), _LONG)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    name: str,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    uses: list[x509.ObjectIdentifier],
    life: timedelta,
) -> x509.Certificate:
    return (
        _built(_name(name), root.subject, key, issuer_key.public_key(), life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _built(
    subject: x509.Name,
    issued_by: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    life: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issued_by, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
