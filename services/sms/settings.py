"""What the SMS service is told."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from crown.channel_settings import ChannelSettings
from crown.link_settings import Origin

_KEY = re.compile(r"[A-Z]{2}[0-9a-zA-Z]{2,62}:[!-~]{2,128}")
# A number in E.164 form, a short code, a name, or a messaging service.
_SENDER = re.compile(
    r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|MG[0-9a-fA-F]{32}|(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9 &_+-]{0,10}"
)


class SmsSettings(ChannelSettings):
    """Settings of the SMS service."""

    # "SID:token" of the account at Twilio.
    api_key: SecretStr = Field(validation_alias="SMS_API_KEY")
    twilio_url: Origin = Field("https://api.twilio.com", validation_alias="CROWN_TWILIO_URL")
    # Who texts come from: a number of the account, a short code, a name, or the SID of a messaging service.
    sender: str = Field(validation_alias="CROWN_SMS_FROM")
    # Where Twilio tells what became of a text; left out: nowhere.
    status_url: str = Field("", validation_alias="CROWN_SMS_STATUS_URL")

    @field_validator("api_key")
    @classmethod
    def _is_key(cls, value: SecretStr) -> SecretStr:
        if not _KEY.fullmatch(value.get_secret_value()):
            raise ValueError("must be the account's SID and token, SID:token")
        return value

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        if not _SENDER.fullmatch(value):
            raise ValueError("must be a number in E.164 form, a short code, a name or a messaging service")
        return value

    @field_validator("status_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.fragment:
            raise ValueError("must be an http or https address")
        return value

    @property
    def account(self) -> tuple[str, str]:
        """SID and token."""
        sid, _, token = self.api_key.get_secret_value().partition(":")
        return sid, token
