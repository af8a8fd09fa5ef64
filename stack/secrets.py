"""Every password and key of a stack, made once and kept in files that only their owner can read.

Processes get the *paths* (NAME_FILE), each only its own: nothing secret stands in an argument or a variable.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stack import certificates, keys
from stack.layout import write_private

# Who has credentials of its own at NATS, MongoDB and Valkey; stack/rights.py says what each may do. `operator`, for
# tests and people, may do all.
PREPARE = "prepare"
SERVICES = (
    *("ingest-api", "ingest-dispatch", "ingest-record", "ingest-webhook"),
    *("realtime", "email", "push", "sms", PREPARE),
)
OPERATOR = "operator"
USERS = (*SERVICES, OPERATOR)

# The files of a certificate, as cert-manager calls them and crown/tls.py reads them.
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets in one folder. Each method answers the path of a file, which it makes if it is missing."""

    folder: Path

    def nats_password(self, user: str) -> Path:
        return self._kept(f"nats-{user}", _password)

    def mongod_password(self, user: str) -> Path:
        return self._kept(f"mongod-{user}", _password)

    def valkey_password(self, user: str) -> Path:
        return self._kept(f"valkey-{user}", _password)

    def mongod_member_key(self) -> Path:
        """What the members of the replica set show each other; mongod demands it as soon as users do."""
        return self._kept("mongod-member-key", lambda: base64.b64encode(secrets.token_bytes(96)).decode())

    def data_key(self) -> Path:
        """Wraps the key of each person, under which their content is encrypted."""
        return self._kept("data-key", lambda: base64.b64encode(secrets.token_bytes(32)).decode())

    def signing_key(self) -> Path:
        return self._kept("token-signing-key.pem", keys.new_signing_key)

    def jwks(self) -> Path:
        """The public half of the signing key, as the gateway and the services read it."""
        return self._kept("jwks.json", lambda: keys.jwks(self.signing_key().read_text()))

    def sendgrid_key(self) -> Path:
        def make() -> str:
            return f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}"

        return self._kept("sendgrid-key", make)

    def twilio_key(self) -> Path:
        return self._kept("twilio-key", lambda: f"AC{secrets.token_hex(16)}:{secrets.token_hex(16)}")

    def fcm_service_account(self, token_url: str) -> Path:
        """A service account as Firebase hands it out, whose token endpoint is the sandbox's."""
        return self._kept("fcm-service-account.json", lambda: keys.new_service_account(token_url))

    def sendgrid_webhook_key(self) -> Path:
        """What the sandbox signs SendGrid's events with."""
        return self._kept("sendgrid-webhook-key.pem", keys.new_signing_key)

    def sendgrid_webhook_public_key(self) -> Path:
        """Its public half as SendGrid shows it: base64 of DER."""
        private = self.sendgrid_webhook_key
        return self._kept("sendgrid-webhook-public-key", lambda: keys.public_der(private().read_text()))

    def sns_key(self) -> Path:
        """`ACCESS_KEY_ID:SECRET`, of the lengths that AWS hands out."""

        def make() -> str:
            return f"AKIA{base64.b32encode(secrets.token_bytes(10)).decode()}:{secrets.token_urlsafe(30)}"

        return self._kept("sns-key", make)

    def sns_signer(self) -> Path:
        """What the sandbox signs the messages of SNS topics with: private key, certificate, and its issuer's."""
        return self._kept("sns-signer.pem", certificates.new_signer)

    def sns_ca(self) -> Path:
        """The certificate that the SMS service trusts to have issued that of the signer."""
        return self._kept("sns-ca.pem", lambda: certificates.issuer(self.sns_signer().read_text()))

    def tls(self, name: str) -> Path:
        """The folder of the certificate of the part `name`, its key, and the authority of the stack; renewed where it
        is about to end. Laid out as the kubelet does it, so that all three change at once."""
        made = self._kept("tls-authority.pem", certificates.new_authority).read_text()
        folder = self.folder / "tls" / name
        authority, own = folder / AUTHORITY, folder / CERTIFICATE
        if (
            not own.exists()
            or authority.read_text() != certificates.authority(made)
            or certificates.due(own.read_text())
        ):
            _lay_out(folder, name, made)
        return folder

    def renew(self) -> None:
        """Renews the certificates that are about to end."""
        for folder in sorted((self.folder / "tls").glob("*")):
            self.tls(folder.name)

    def web_push_key(self) -> Path:
        """The private VAPID key: 32 bytes in base64url."""
        return self._kept("web-push-key", keys.new_vapid_key)

    def write(self, name: str, value: str) -> Path:
        """Keeps a value that follows from others (an address with its password) or that the caller gave."""
        path = self.folder / name
        if not path.exists() or path.read_text() != value:
            write_private(path, value)
        return path

    def _kept(self, name: str, make: Callable[[], str]) -> Path:
        path = self.folder / name
        if not path.exists():
            write_private(path, make())
        return path

    def as_file(self, given: Mapping[str, str], name: str) -> dict[str, str]:
        """The secret `name` as the caller set it, turned into NAME_FILE; empty when it is not set."""
        if given.get(f"{name}_FILE"):
            return {f"{name}_FILE": given[f"{name}_FILE"]}
        if given.get(name):
            return {f"{name}_FILE": str(self.write(f"given-{name.lower()}", given[name]))}
        return {}


def _lay_out(folder: Path, name: str, authority: str) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    former = [path for path in folder.glob("..*") if not path.is_symlink()]
    fresh = folder / f"..{time.time_ns()}"
    fresh.mkdir(mode=0o700)
    certificate, key = certificates.new_part(authority, name)
    for file, text in (
        (CERTIFICATE, certificate),
        (KEY, key),
        (AUTHORITY, certificates.authority(authority)),
    ):
        write_private(fresh / file, text)
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")
    (fresh / "..data").symlink_to(fresh.name)
    os.replace(fresh / "..data", folder / "..data")
    for path in former:
        shutil.rmtree(path)


def _password() -> str:
    # Hexadecimal: it stands in URLs and configuration files without escapes.
    return secrets.token_hex(16)


def read(path: Path) -> str:
    return path.read_text().strip()
