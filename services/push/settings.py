"""What the push service is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from google.oauth2.service_account import Credentials
from pydantic import Field, SecretStr, field_validator

from crown.channel_settings import ChannelSettings
from crown.link_settings import Origin

_WRONG = "must be a Firebase service account: its JSON, or the path of a file that holds it"


class PushSettings(ChannelSettings):
    """Settings of the push service."""

    # A Firebase service account, as the console hands it out: JSON, or the path of a file. JSON once read.
    service_key: SecretStr = Field(validation_alias="PUSH_SERVICE_KEY")
    fcm_url: Origin = Field("https://fcm.googleapis.com", validation_alias="CROWN_FCM_URL")

    @field_validator("service_key")
    @classmethod
    def _is_service_account(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if not text.startswith("{"):
            try:
                text = Path(text).read_text(encoding="utf-8")
            except (OSError, ValueError):
                raise ValueError(_WRONG) from None
        _check(text)
        return SecretStr(text)

    @property
    def service_account(self) -> dict[str, Any]:
        """The service account: project_id, client_email, private_key, token_uri and more."""
        found: dict[str, Any] = msgspec.json.decode(self.service_key.get_secret_value())
        return found


def _check(text: str) -> None:
    """Raises ValueError, without the text, unless Google's library can sign with it."""
    try:
        account = msgspec.json.decode(text, type=dict[str, Any])
        good = isinstance(account["project_id"], str) and account["type"] == "service_account"
        Credentials.from_service_account_info(account)  # type: ignore[no-untyped-call]
    except (msgspec.MsgspecError, KeyError, ValueError, TypeError, AttributeError):
        good = False
    if not good:
        raise ValueError(_WRONG)
