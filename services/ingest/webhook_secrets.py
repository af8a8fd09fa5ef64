"""The secrets that webhooks are signed with, by the setting CROWN_WEBHOOK_SECRET:
`feed=whsec_…|whsec_…,chat=whsec_…`. Of several of a service all sign, so that its receiver can go from one to the
next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crown import webhook_secret
from crown.vault import Key


def parse(text: str) -> dict[str, tuple[bytes, ...]]:
    """The secrets of each service. Raises ValueError, which holds none of them."""
    found: dict[str, tuple[bytes, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        service, _, secrets = part.partition("=")
        if not service.strip() or service.strip() in found:
            raise ValueError("must be service=whsec_…, each service once, separated by commas")
        found[service.strip()] = tuple(webhook_secret.raw(secret.strip()) for secret in secrets.split("|"))
    return found


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """What was set, and for all others what follows from the data key."""

    given: Mapping[str, tuple[bytes, ...]]
    data_key: Key

    def of(self, service: str) -> tuple[bytes, ...]:
        """The secrets of `service`: at least one."""
        return self.given.get(service) or (
            webhook_secret.raw(webhook_secret.derived(self.data_key, service)),
        )
