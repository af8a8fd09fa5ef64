"""Makes the certificate that SNS messages of the sandbox are signed under, and an issuer of its own for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SNS_NAME = "sns.amazonaws.com"
"""Whom the certificates of SNS are made out to."""

_LIFE = timedelta(days=3_650)
_SKEW = timedelta(days=1)


def new_signer() -> str:
    """In PEM: an RSA key, as SNS signs with, its certificate, and that of the issuer, whose key is thrown away."""
    issuer_key = ec.generate_private_key(ec.SECP256R1())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    root = _root(issuer_key)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = (_leaf(key.public_key(), issuer_key, root), root)
    return (private + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)).decode()


def issuer(signer: str) -> str:
    """The issuer's certificate out of what `new_signer` made."""
    return (
        x509.load_pem_x509_certificates(signer.encode())[1].public_bytes(serialization.Encoding.PEM).decode()
    )


def _root(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("Crown sandbox")
    return (
        _built(name, name, key.public_key(), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    key: rsa.RSAPublicKey, issuer_key: ec.EllipticCurvePrivateKey, root: x509.Certificate
) -> x509.Certificate:
    return (
        _built(_name(SNS_NAME), root.subject, key, issuer_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SNS_NAME)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _built(
    subject: x509.Name,
    issued_by: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issued_by, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
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
