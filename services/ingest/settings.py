"""What ingest is told, over what every service is told."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, SecretStr, field_validator

from crown import webhook_secrets
from crown.notification.v1.types_pb2 import Priority
from crown.subjects import LANES
from services.ingest.filter_settings import FilterSettings
from services.ingest.intake import rate
from services.ingest.intake.rate import Rate
from services.ingest.webhook.hosts import WebhookHosts

_OFF = "off"


class IngestSettings(FilterSettings):
    """Settings of all of ingest's roles."""

    # Lanes that this dispatcher works on, separated by commas. Critical wants a process of its own.
    dispatch_lanes: str = Field("critical,normal,bulk", validation_alias="CROWN_DISPATCH_LANES")
    # Who /readyz asks: name=host:port of each service's gRPC port, separated by commas.
    peers: str = Field("", validation_alias="CROWN_PEERS")
    # Seconds between two looks for deliveries that got stuck.
    sweep_period_s: float = Field(
        10.0, validation_alias="CROWN_SWEEP_PERIOD_S", gt=0, le=3600, allow_inf_nan=False
    )

    # What each calling service may send at most, by name or * for all, in recipients: see intake/rate.py.
    caller_rates: str = Field("", validation_alias="CROWN_CALLER_RATES")
    # What each may send on these lanes; the rest travels on the next lower one. `off`: no bound.
    normal_rate: str = Field("500/s:5000", validation_alias="CROWN_NORMAL_RATE")
    critical_rate: str = Field("100/s:1000", validation_alias="CROWN_CRITICAL_RATE")
    # Seconds by which a time of a schedule may have been missed and is made up for.
    schedule_grace_s: float = Field(
        3600.0, validation_alias="CROWN_SCHEDULE_GRACE_S", ge=1, le=86_400, allow_inf_nan=False
    )

    # Who may be called about what became of notifications: see services/ingest/webhook/hosts.py.
    webhook_hosts: str = Field("", validation_alias="CROWN_WEBHOOK_HOSTS")
    # What those calls are signed with: see crown/webhook_secrets.py.
    webhook_secret: SecretStr = Field(SecretStr(""), validation_alias="CROWN_WEBHOOK_SECRET")

    @field_validator("caller_rates")
    @classmethod
    def _rates_of_callers(cls, value: str) -> str:
        rate.parse(value)
        return value

    @field_validator("normal_rate", "critical_rate")
    @classmethod
    def _rate_or_none(cls, value: str) -> str:
        if value != _OFF:
            Rate.parse(value)
        return value

    @field_validator("webhook_hosts")
    @classmethod
    def _hosts_of_services(cls, value: str) -> str:
        WebhookHosts.parse(value)
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _secrets_of_services(cls, value: SecretStr) -> SecretStr:
        webhook_secrets.parse(value.get_secret_value())
        return value

    @field_validator("dispatch_lanes")
    @classmethod
    def _known_lanes(cls, value: str) -> str:
        if not value or set(value.split(",")) - set(LANES.values()):
            raise ValueError(f"must be of {', '.join(LANES.values())}, separated by commas")
        return value

    @field_validator("peers")
    @classmethod
    def _named_addresses(cls, value: str) -> str:
        for part in filter(None, value.split(",")):
            name, _, address = part.partition("=")
            if not name or not address.rpartition(":")[2].isdigit():
                raise ValueError("must be name=host:port, several separated by commas")
        return value

    @property
    def lanes(self) -> list[str]:
        """The lanes of this dispatcher."""
        return self.dispatch_lanes.split(",")

    @property
    def rates(self) -> Mapping[str, Rate]:
        """What callers may send at most."""
        return rate.parse(self.caller_rates)

    @property
    def shares(self) -> Mapping[Priority.Type.ValueType, Rate]:
        """What a caller may send on each lane that has a bound."""
        given = {Priority.CRITICAL: self.critical_rate, Priority.NORMAL: self.normal_rate}
        return {lane: Rate.parse(text) for lane, text in given.items() if text != _OFF}

    @property
    def callable_hosts(self) -> WebhookHosts:
        """Who may be called for which service."""
        return WebhookHosts.parse(self.webhook_hosts)

    @property
    def peer_addresses(self) -> dict[str, str]:
        """Address by name of who /readyz asks."""
        pairs = (part.partition("=") for part in self.peers.split(",") if part)
        return {name: address for name, _, address in pairs}
