"""Settings of the relay. It needs neither bus nor stores, and so is not told where they are."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator

from crown.settings import ProcessSettings, grpc_address


class RelaySettings(ProcessSettings):
    """What only the relay is told."""

    # A TOML file that says what to listen to and what to make of it, see docs/relay.md.
    feeds_path: str = Field(validation_alias="CROWN_RELAY_FEEDS")
    # Who takes notifications in: host:port of ingest's API or of the gateway.
    ingest_address: str = Field(validation_alias="CROWN_INGEST_ADDRESS")
    # A service's token with the scope notifications.send.
    token: SecretStr = Field(validation_alias="CROWN_RELAY_TOKEN")
    # Notifications of one feed that ingest is asked to take at once. While there are as many, the feed is not
    # read; a crash loses no more than these and one message.
    in_flight: int = Field(64, validation_alias="CROWN_RELAY_IN_FLIGHT", ge=1, le=1_000)

    @field_validator("ingest_address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return grpc_address(value)

    @field_validator("token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("must be printable ASCII characters without spaces")
        return value
