"""Makes every Secret that the manifests name: `python -m k8s.make_secrets build/k8s-secrets`, then
`kubectl apply -k build/k8s-secrets/crown-data -k build/k8s-secrets/crown`.

A value is a file of its own. What is there already is kept, so that a key of yours is put into its file and stays.
Whoever keeps secrets elsewhere makes Secrets of the same names and keys there; this is the list of them.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jwt

from crown.token import LIFE_MOST_S
from stack import keys, rights, tokens
from stack.layout import write_private
from stack.plan import GATEWAY
from stack.secrets import AUTHORITY, CERTIFICATE, KEY, SERVICES, Secrets
from stack.services import FILTER, RELAY, ROLES

SUITE, DATA = "crown", "crown-data"
_MONGODB = ",".join(f"crown-{number}.crown-svc.{DATA}.svc.cluster.local:27017" for number in range(3))
_VALKEY = f"valkey.{DATA}.svc.cluster.local:6379"
# As long as a token may live. An auth service would renew it by itself; here whoever makes the Secrets again within
# so many seconds of its end gets a new one.
_TOKEN_TTL_S = LIFE_MOST_S
_TOKEN_DUE_S = LIFE_MOST_S / 2


class Kept:
    """The values, one file each: <namespace>/<secret>/<key>."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def value(self, namespace: str, secret: str, key: str, make: Callable[[], str]) -> str:
        """What is kept under that name; made where it is missing."""
        path = self.folder / namespace / secret / key
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, make())
        return path.read_text(encoding="utf-8")

    def put(self, namespace: str, secret: str, key: str, value: str) -> None:
        """Keeps what follows from others."""
        path = self.folder / namespace / secret / key
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, value)

    def describe(self, namespace: str, public: tuple[str, ...] = ()) -> None:
        """Writes what makes a Secret of each folder, and a ConfigMap of those that are `public`."""
        made: dict[str, list[dict[str, object]]] = {"configMapGenerator": [], "secretGenerator": []}
        for folder in sorted(path for path in (self.folder / namespace).iterdir() if path.is_dir()):
            kind = "configMapGenerator" if folder.name in public else "secretGenerator"
            files = sorted(f"{folder.name}/{path.name}" for path in folder.iterdir())
            made[kind].append({"name": folder.name, "files": files})
        written = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": namespace,
            # The manifests name them as they are.
            "generatorOptions": {"disableNameSuffixHash": True},
            **made,
        }
        # JSON is YAML.
        path = self.folder / namespace / "kustomization.yaml"
        path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def make(folder: Path) -> None:
    """Makes all that is missing."""
    kept = Kept(folder)
    _users(kept)
    kept.value(
        SUITE, "crown-data-key", "CROWN_DATA_KEY", lambda: base64.b64encode(secrets.token_bytes(32)).decode()
    )
    _providers(kept)
    _tokens(kept)
    _certificates(kept)
    kept.describe(SUITE, public=("crown-jwks",))
    kept.describe(DATA)


def _password() -> str:
    # A letter first: NATS reads a password from a variable as it reads its configuration, where 12 is a number.
    return f"p{secrets.token_hex(24)}"


def _users(kept: Kept) -> None:
    """A user for each service at the bus and the stores, and what each service is told of them."""
    rows = ["user default off"]
    for user in SERVICES:
        nats = kept.value(DATA, "nats-users", user, _password)
        mongodb = kept.value(DATA, f"mongodb-{user}", "password", _password)
        valkey = kept.value(SUITE, f"{user}-credentials", "REDIS_HOST", partial(_redis, user))
        digest = hashlib.sha256(valkey.partition("@")[0].rpartition(":")[2].encode()).hexdigest()
        # What prepares reaches no cache.
        rows += [rights.valkey_row(user, digest)] if user in rights.VALKEY else []
        url = f"mongodb://{user}:{mongodb}@{_MONGODB}/crown?replicaSet=crown&authSource=crown"
        kept.put(SUITE, f"{user}-credentials", "NATS_PASSWORD", nats)
        kept.put(SUITE, f"{user}-credentials", "DATABASE_URL", url)
    kept.put(DATA, "valkey-users", "users.acl", "\n".join(rows) + "\n")


def _redis(user: str) -> str:
    return f"redis://{user}:{_password()}@{_VALKEY}/0"


def _providers(kept: Kept) -> None:
    """Stand-ins that have the right form: a channel starts with them, and its provider refuses it until the file
    holds a key of yours."""
    kept.value(SUITE, "email-provider", "SMTP_PASSWORD", _password)
    account = "https://oauth2.googleapis.com/token"
    kept.value(SUITE, "push-provider", "PUSH_SERVICE_KEY", lambda: keys.new_service_account(account))
    kept.value(SUITE, "push-provider", "CROWN_WEB_PUSH_KEY", keys.new_vapid_key)
    kept.value(
        SUITE, "sms-provider", "SMS_API_KEY", lambda: f"AC{secrets.token_hex(16)}:{secrets.token_hex(16)}"
    )


def _tokens(kept: Kept) -> None:
    """The key that tokens are signed with where there is no auth service, its public half, and the tokens that the
    processes themselves show."""
    signer = Secrets(kept.folder / "signer")
    signer.folder.mkdir(parents=True, exist_ok=True)
    kept.put(SUITE, "crown-jwks", "jwks.json", signer.jwks().read_text(encoding="utf-8"))
    for secret, key, name, scope in (
        ("relay-token", "CROWN_RELAY_TOKEN", "relay", "notifications.send"),
        ("filter-token", "CROWN_FILTER_TOKEN", "dispatch", "notifications.filter"),
    ):
        make = partial(_token, signer, tokens.Use.SERVICE, name, scope)
        if _due(kept.value(SUITE, secret, key, make)):
            kept.put(SUITE, secret, key, make())


def _certificates(kept: Kept) -> None:
    """What each part shows the others with components/mtls, where no cert-manager makes it. Whoever makes the Secrets
    again within 30 days of the end of a certificate gets a new one."""
    signer = Secrets(kept.folder / "signer")
    for name in (GATEWAY, *(role.name for role in (*ROLES, RELAY, FILTER))):
        folder = signer.tls(name)
        for file in (CERTIFICATE, KEY, AUTHORITY):
            kept.put(SUITE, f"{name}-tls", file, (folder / file).read_text(encoding="utf-8"))


def _token(signer: Secrets, use: tokens.Use, subject: str, scope: str = "") -> str:
    return tokens.sign(signer, use, subject, scopes=(scope,) if scope else (), ttl_s=_TOKEN_TTL_S)


def _due(token: str) -> bool:
    """Whether it is one of ours, and about to end. Those of an auth service are its own."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return False
    return claims.get("iss") == tokens.ISSUER and claims["exp"] < time.time() + _TOKEN_DUE_S


def main() -> None:
    """Makes the Secrets, or prints a token that the overlay `dev` takes."""
    parser = argparse.ArgumentParser(prog="python -m k8s.make_secrets", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the values are kept")
    parser.add_argument("--token", metavar="user=ann", help="print a token for a user, service or operator")
    given = parser.parse_args()
    make(given.folder)
    if given.token:
        use, _, subject = given.token.partition("=")
        if use not in set(tokens.Use) or not subject:
            parser.error("--token is user=NAME, service=NAME or operator=NAME")
        print(_token(Secrets(given.folder / "signer"), tokens.Use(use), subject))  # noqa: T201


if __name__ == "__main__":
    main()
