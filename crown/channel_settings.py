"""Settings that email, push and sms share, over those of every service."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator

from crown import rates, unknown
from crown.judgement import Rules
from crown.link_settings import LinkSettings, origin
from crown.rendering import Links


class ChannelSettings(LinkSettings):
    """What each of the three channel services is told."""

    # Deliveries worked on at once. A crash can repeat no more than these.
    in_flight: int = Field(128, validation_alias="CROWN_IN_FLIGHT", ge=1, le=2_000)

    # Where the gateway is reached from outside: links in mails lead there, and providers call it back. Left
    # out: there are no such links, and callbacks that sign their address are refused.
    gateway_url: str = Field("", validation_alias="CROWN_GATEWAY_URL")

    # Calls a second that a provider gets from all processes of the channel, `name=rate` separated by commas. One
    # that is not named gets as many as there are.
    provider_rates: str = Field("", validation_alias="CROWN_PROVIDER_RATES")
    # Seconds that one call of a provider may take. At most 10, so that it ends well before others may take its
    # delivery for abandoned.
    provider_timeout_s: float = Field(
        10.0, validation_alias="CROWN_PROVIDER_TIMEOUT_S", ge=0.1, le=10, allow_inf_nan=False
    )
    # Hours after which a delivery has expired, whatever its notification says.
    most_age_h: float = Field(
        72.0, validation_alias="CROWN_DELIVERY_AGE_H", gt=0, le=24 * 30, allow_inf_nan=False
    )
    # What follows an attempt of which nobody can say how it ended, where it is to differ from crown/unknown.py.
    unknown_outcomes: str = Field("", validation_alias="CROWN_UNKNOWN_OUTCOMES")

    @field_validator("provider_rates")
    @classmethod
    def _are_rates(cls, value: str) -> str:
        rates.parse(value)
        return value

    @field_validator("unknown_outcomes")
    @classmethod
    def _is_policy(cls, value: str) -> str:
        unknown.parse(value)
        return value

    @field_validator("gateway_url")
    @classmethod
    def _is_origin(cls, value: str) -> str:
        return value and origin(value)

    @property
    def links(self) -> Links:
        """How links are rendered."""
        return Links(self.public_url, self.allowed_hosts)

    @property
    def rules(self) -> Rules:
        """What is decided about deliveries here."""
        return Rules(timedelta(hours=self.most_age_h), unknown.parse(self.unknown_outcomes))
