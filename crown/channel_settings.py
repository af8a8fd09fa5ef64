"""Settings that email, push and sms share, over those of every service."""

from __future__ import annotations

from pydantic import Field

from crown.link_settings import LinkSettings
from crown.rendering import Links


class ChannelSettings(LinkSettings):
    """What each of the three channel services is told."""

    # Deliveries worked on at once. A crash can repeat no more than these.
    in_flight: int = Field(128, validation_alias="CROWN_IN_FLIGHT", ge=1, le=2_000)

    @property
    def links(self) -> Links:
        """How links are rendered."""
        return Links(self.public_url, self.allowed_hosts)
