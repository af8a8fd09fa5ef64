"""What ingest is told of filters: of the one that dispatch asks, and of the one that is part of the suite."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator

from crown.link_settings import LinkSettings
from crown.settings import TokenSettings, grpc_address


class OwnFilterSettings(TokenSettings):
    """What the suite's own filter is told, which reaches neither the bus nor the stores."""

    # Its rules: notifications that a person gets in an hour, and in a day.
    per_hour: int = Field(10, validation_alias="CROWN_FILTER_PER_HOUR", ge=1, le=100)
    per_day: int = Field(50, validation_alias="CROWN_FILTER_PER_DAY", ge=1, le=100)


class FilterSettings(LinkSettings):
    """Settings about the filter that is asked."""

    # Who is asked what is worth sending: host:port. Empty: nobody is.
    filter_address: str = Field("", validation_alias="CROWN_FILTER_ADDRESS")
    # The token that goes with it: a service's, with the scope notifications.filter.
    filter_token: SecretStr = Field(SecretStr(""), validation_alias="CROWN_FILTER_TOKEN")
    # Milliseconds that an answer may take; then everything is sent.
    filter_timeout_ms: int = Field(50, validation_alias="CROWN_FILTER_TIMEOUT_MS", ge=1, le=5_000)

    @field_validator("filter_address")
    @classmethod
    def _is_filter_address(cls, value: str) -> str:
        return grpc_address(value) if value else value

    @field_validator("filter_token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
            raise ValueError("must be printable ASCII characters without spaces")
        return value
