"""Which hosts a sending service may have called, by the setting CROWN_WEBHOOK_HOSTS:
`feed=hooks.example.org|*.feed.example,chat=127.0.0.1:9000`. What an entry means stands in crown/egress.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crown.egress import Egress


@dataclass(frozen=True, slots=True)
class WebhookHosts:
    """The entries of each service; who is not in it may have nobody called."""

    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> WebhookHosts:
        """Reads the setting. Raises ValueError."""
        found: dict[str, tuple[str, ...]] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            service, _, hosts = part.partition("=")
            entries = tuple(host.strip() for host in hosts.split("|"))
            if not service.strip() or service.strip() in found:
                raise ValueError("must be service=host|host, each service once, separated by commas")
            Egress.of(entries)
            found[service.strip()] = entries
        return cls(found)

    @property
    def egress(self) -> Egress:
        """All hosts of all services: what may be called at all."""
        return Egress.of(entry for entries in self.entries.values() for entry in entries)

    def problem(self, service: str, url: str) -> str | None:
        """Why `service` may not have `url` called, and what is allowed; None where it may."""
        entries = self.entries.get(service)
        if not entries:
            return "must be empty: no host is allowed for this service"
        why = Egress.of(entries).problem(url)
        return why and f"{why}; allowed are {', '.join(entries)}"
