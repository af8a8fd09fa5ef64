"""Settings of the realtime service."""

from __future__ import annotations

from pydantic import Field, field_validator

from crown.settings import Port
from crown.settings import Settings as Common
from services.realtime.origins import Origins


class Settings(Common):
    """What only this service is told."""

    websocket_port: Port = Field(4000, validation_alias="CROWN_WEBSOCKET_PORT")
    longpoll_port: Port = Field(4001, validation_alias="CROWN_LONGPOLL_PORT")
    # Seconds that a poll waits for something to answer; phoenix.js gives up after 20. A session that is not
    # polled for one and a half of it is over.
    longpoll_window_s: float = Field(10.0, validation_alias="CROWN_LONGPOLL_WINDOW_S", ge=0.5, le=15)
    # Pages that may connect, such as "https://app.example.org, https://*.example.org"; "*" is all. Empty:
    # pages from the host that they connect to. Programs, which send no Origin, always may.
    allowed_origins: str = Field("", validation_alias="CROWN_ALLOWED_ORIGINS")
    # Seconds without a byte from the client after which it is taken for gone; phoenix.js beats every 30.
    idle_s: float = Field(60.0, validation_alias="CROWN_WEBSOCKET_IDLE_S", gt=0, le=3600)

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        Origins.of(value)
        return value
