"""The secrets by which senders know that a webhook comes from us, in the form of Standard Webhooks: `whsec_`
and then base64. The setting CROWN_WEBHOOK_SECRET names those of some services,
`feed=whsec_…|whsec_…,chat=whsec_…`: of several of one service all sign, so that its receiver can go from one
to the next. All other services have one that follows from the data key."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from crown.vault import Key

PREFIX = "whsec_"
# What the standard asks of a secret.
_LEAST_BYTES, _MOST_BYTES = 24, 64


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """The secrets of each service in the setting. Raises ValueError, which holds none of them."""
    found: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        service, _, given = part.partition("=")
        if not service.strip() or service.strip() in found:
            raise ValueError("must be service=whsec_…, each service once, separated by commas")
        secrets = tuple(secret.strip() for secret in given.split("|"))
        for secret in secrets:
            raw(secret)
        found[service.strip()] = secrets
    return found


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """What was set, and for all others what follows from the data key."""

    given: Mapping[str, tuple[str, ...]]
    data_key: Key

    def of(self, service: str) -> tuple[str, ...]:
        """The secrets of `service`: at least one, the newest first."""
        return self.given.get(service) or (self._derived(service),)

    def _derived(self, service: str) -> str:
        digest = hmac.digest(self.data_key.raw, f"webhook:{service}".encode(), "sha256")
        return PREFIX + base64.b64encode(digest).decode()


def raw(secret: str) -> bytes:
    """The bytes that sign. Raises ValueError where it is no secret."""
    try:
        found = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not secret.startswith(PREFIX) or not _LEAST_BYTES <= len(found) <= _MOST_BYTES:
        raise ValueError("must be whsec_ and then 24 to 64 bytes in base64")
    return found
