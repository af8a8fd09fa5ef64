"""Settings that email, push and sms share, over those of every service."""

from __future__ import annotations

from pydantic import Field, field_validator

from crown.link_settings import LinkSettings, origin
from crown.rendering import Links


class ChannelSettings(LinkSettings):
    """What each of the three channel services is told."""

    # Deliveries worked on at once. A crash can repeat no more than these.
    in_flight: int = Field(128, validation_alias="CROWN_IN_FLIGHT", ge=1, le=2_000)

    # Where the gateway is reached from outside: links in mails lead there, and providers call it back. Left
    # out: there are no such links, and callbacks that sign their address are refused.
    gateway_url: str = Field("", validation_alias="CROWN_GATEWAY_URL")

    @field_validator("gateway_url")
    @classmethod
    def _is_origin(cls, value: str) -> str:
        return value and origin(value)

    @property
    def links(self) -> Links:
        """How links are rendered."""
        return Links(self.public_url, self.allowed_hosts)
