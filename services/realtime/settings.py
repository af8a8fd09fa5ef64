"""Settings of the realtime service."""

from __future__ import annotations

from pydantic import Field, field_validator

from crown.settings import Port
from crown.settings import Settings as Common
from services.realtime import inherited, proxies
from services.realtime.limits import Limits
from services.realtime.origins import Origins
from services.realtime.proxies import Proxies

_LIMITS = Limits()


class Settings(Common):
    """What only this service is told."""

    websocket_port: Port = Field(4000, validation_alias="CROWN_WEBSOCKET_PORT")
    longpoll_port: Port = Field(4001, validation_alias="CROWN_LONGPOLL_PORT")
    # Processes that share these ports; each has metrics on a port of its own, counted from CROWN_METRICS_PORT.
    processes: int = Field(1, validation_alias="CROWN_REALTIME_PROCESSES", ge=1, le=64)
    # What a process inherits from the supervisor of several, see services/realtime/inherited.py.
    inherited: str = Field("", validation_alias="CROWN_LISTENERS")
    # Seconds that a poll waits for something to answer; phoenix.js gives up after 20. A session that is not
    # polled for one and a half of it is over.
    longpoll_window_s: float = Field(10.0, validation_alias="CROWN_LONGPOLL_WINDOW_S", ge=0.5, le=15)
    # Pages that may connect, such as "https://app.example.org, https://*.example.org"; "*" is all. Empty:
    # pages from the host that they connect to. Programs, which send no Origin, always may.
    allowed_origins: str = Field("", validation_alias="CROWN_ALLOWED_ORIGINS")
    # Seconds without a byte from the client after which it is taken for gone; phoenix.js beats every 30.
    idle_s: float = Field(60.0, validation_alias="CROWN_WEBSOCKET_IDLE_S", gt=0, le=3600)

    # Networks whose X-Forwarded-For is believed: its last entry is then the client's address.
    trusted_proxies: str = Field(proxies.PRIVATE, validation_alias="CROWN_TRUSTED_PROXIES")
    # What one address, one person, one client and all together may take; 0 is no limit.
    connections_per_address: int = Field(
        _LIMITS.per_address, validation_alias="CROWN_CONNECTIONS_PER_ADDRESS", ge=0
    )
    connections_per_user: int = Field(_LIMITS.per_user, validation_alias="CROWN_CONNECTIONS_PER_USER", ge=0)
    accept_rate: int = Field(_LIMITS.accept_rate, validation_alias="CROWN_ACCEPT_RATE", ge=0)
    message_rate: int = Field(_LIMITS.message_rate, validation_alias="CROWN_MESSAGE_RATE", ge=0)
    message_burst: int = Field(_LIMITS.message_burst, validation_alias="CROWN_MESSAGE_BURST", ge=1)

    @property
    def limits(self) -> Limits:
        """The limits, as one."""
        return Limits(
            self.connections_per_address,
            self.connections_per_user,
            self.accept_rate,
            self.message_rate,
            self.message_burst,
        )

    @field_validator("inherited")
    @classmethod
    def _are_listeners(cls, value: str) -> str:
        inherited.read(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        Proxies.of(value)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        Origins.of(value)
        return value
