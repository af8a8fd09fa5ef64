"""What ingest is told, over what every service is told."""

from __future__ import annotations

from pydantic import Field, field_validator

from crown.link_settings import LinkSettings
from crown.subjects import LANES


class IngestSettings(LinkSettings):
    """Settings of all of ingest's roles."""

    # Lanes that this dispatcher works on, separated by commas. Critical wants a process of its own.
    dispatch_lanes: str = Field("critical,normal,bulk", validation_alias="CROWN_DISPATCH_LANES")
    # Who /readyz asks: name=host:port of each service's gRPC port, separated by commas.
    peers: str = Field("", validation_alias="CROWN_PEERS")
    # Seconds between two looks for deliveries that got stuck.
    sweep_period_s: float = Field(
        10.0, validation_alias="CROWN_SWEEP_PERIOD_S", gt=0, le=3600, allow_inf_nan=False
    )

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
    def peer_addresses(self) -> dict[str, str]:
        """Address by name of who /readyz asks."""
        pairs = (part.partition("=") for part in self.peers.split(",") if part)
        return {name: address for name, _, address in pairs}
