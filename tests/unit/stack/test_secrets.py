"""Secrets are made once, differ, and open for their owner only."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store
from sendgrid.helpers.eventwebhook import EventWebhook

from stack import certificates, keys
from stack.secrets import AUTHORITY, CERTIFICATE, KEY, USERS, Secrets


def pem(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())


def test_a_part_s_certificate_names_it_and_is_the_authority_s(secrets: Secrets) -> None:
    folder = secrets.tls("email")
    store = Store(x509.load_pem_x509_certificates((folder / AUTHORITY).read_bytes()))
    PolicyBuilder().store(store).build_server_verifier(x509.DNSName("email")).verify(pem(folder), [])
    names = PolicyBuilder().store(store).build_client_verifier().verify(pem(folder), []).subjects
    assert names == [x509.DNSName("email")]
    key = serialization.load_pem_private_key((folder / KEY).read_bytes(), None)
    assert key.public_key() == pem(folder).public_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o600


def test_a_certificate_is_kept_until_it_is_about_to_end(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = secrets.tls("email")
    before = pem(folder)
    secrets.renew()
    assert pem(folder) == before
    monkeypatch.setattr(certificates, "RENEWED", certificates.LIFE)
    secrets.renew()
    assert pem(folder) != before
    # What was before is not kept, and all three changed at once.
    assert len([path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]) == 1


def test_a_new_authority_renews_all(secrets: Secrets) -> None:
    before = {name: pem(secrets.tls(name)) for name in ("email", "gateway")}
    (secrets.folder / "tls-authority.pem").unlink()
    secrets.renew()
    assert all(pem(secrets.tls(name)).issuer == one.issuer for name, one in before.items())
    assert all(pem(secrets.tls(name)) != one for name, one in before.items())
    assert len({(secrets.tls(name) / AUTHORITY).read_text() for name in before}) == 1


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path)


def every_file(secrets: Secrets) -> list[Path]:
    per_user = [
        make(user)
        for user in USERS
        for make in (secrets.nats_password, secrets.mongod_password, secrets.valkey_password)
    ]
    return [
        *per_user,
        secrets.mongod_member_key(),
        secrets.data_key(),
        secrets.signing_key(),
        secrets.jwks(),
        secrets.sendgrid_key(),
        secrets.sendgrid_webhook_key(),
        secrets.sendgrid_webhook_public_key(),
        secrets.twilio_key(),
        secrets.sns_key(),
        secrets.sns_signer(),
        secrets.sns_ca(),
        secrets.web_push_key(),
        secrets.fcm_service_account("http://127.0.0.1:1/token"),
        secrets.write("database-url-email", "mongodb://…"),
    ]


def test_only_the_owner_can_read_them(secrets: Secrets) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in every_file(secrets)} == {0o600}


def test_they_are_made_once_and_all_differ(secrets: Secrets) -> None:
    first = [path.read_text() for path in every_file(secrets)]
    assert [path.read_text() for path in every_file(secrets)] == first
    assert len(set(first)) == len(first)


def test_they_look_like_what_the_providers_hand_out(secrets: Secrets) -> None:
    sid, _, token = secrets.twilio_key().read_text().partition(":")
    assert (sid[:2], len(sid), len(token)) == ("AC", 34, 32)
    assert [len(part) for part in secrets.sendgrid_key().read_text().split(".")] == [2, 22, 43]
    key_id, _, secret = secrets.sns_key().read_text().partition(":")
    assert (key_id[:4], len(key_id), len(secret)) == ("AKIA", 20, 40)
    assert len(base64.b64decode(secrets.data_key().read_text(), validate=True)) == 32


def test_the_issuer_of_the_signer_is_trusted_by_a_strict_verifier(secrets: Secrets) -> None:
    leaf, _ = x509.load_pem_x509_certificates(secrets.sns_signer().read_bytes())
    trusted = x509.load_pem_x509_certificates(secrets.sns_ca().read_bytes())
    verifier = PolicyBuilder().store(Store(trusted)).build_server_verifier(x509.DNSName("sns.amazonaws.com"))
    assert verifier.verify(leaf, []) == [leaf, *trusted]


def test_the_public_half_verifies_what_sendgrid_s_key_signs(secrets: Secrets) -> None:
    webhook = EventWebhook(secrets.sendgrid_webhook_public_key().read_text())
    private = serialization.load_pem_private_key(secrets.sendgrid_webhook_key().read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    signature = private.sign(b"1700000000[]", ec.ECDSA(hashes.SHA256()))
    assert webhook.verify_signature("[]", base64.b64encode(signature).decode(), "1700000000")


def test_the_key_set_holds_the_public_half_only(secrets: Secrets) -> None:
    (key,) = json.loads(secrets.jwks().read_text())["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert key["kid"] == keys.key_id(secrets.signing_key().read_text())
    assert jwt.PyJWK(key).algorithm_name == "ES256"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"KEY": ""}, {}),
        ({"KEY_FILE": "/a/file"}, {"KEY_FILE": "/a/file"}),
        ({"KEY": "x", "KEY_FILE": "/a/file"}, {"KEY_FILE": "/a/file"}),
    ],
    ids=["unset", "empty", "a file", "both"],
)
def test_a_given_secret_is_handed_on(
    secrets: Secrets, given: dict[str, str], expected: dict[str, str]
) -> None:
    assert secrets.as_file(given, "KEY") == expected


def test_a_given_value_becomes_a_file(secrets: Secrets) -> None:
    path = Path(secrets.as_file({"KEY": "hush"}, "KEY")["KEY_FILE"])
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("hush", 0o600)
    assert secrets.as_file({"KEY": "other"}, "KEY")["KEY_FILE"] == str(path)
    assert path.read_text() == "other"
