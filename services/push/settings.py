"""What the push service is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from google.oauth2.service_account import Credentials
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from crown.channel_settings import ChannelSettings
from crown.egress import Egress
from crown.link_settings import Origin
from services.push.web_push.vapid import Vapid, private_key

_WRONG = (
    "must be a Firebase service account, or a list of them of one project: its JSON, or the path of a file that "
    "holds it"
)
_WRONG_KEY = "must be a private key on P-256: 32 bytes in base64url, or PEM; `crown vapid` makes one"
_CONTACT = re.compile(r"mailto:[^\s@<>]+@[^\s@<>]+|https://[^\s<>]+")
# Chrome, Firefox, Edge and Safari.
_HOSTS = "fcm.googleapis.com,*.push.services.mozilla.com,*.notify.windows.com,web.push.apple.com"


class PushSettings(ChannelSettings):
    """Settings of the push service."""

    # A Firebase service account, as the console hands it out, or a list of several: JSON, or the path of a file.
    # A list in JSON once read.
    service_key: SecretStr = Field(validation_alias="PUSH_SERVICE_KEY")
    fcm_url: Origin = Field("https://fcm.googleapis.com", validation_alias="CROWN_FCM_URL")

    # Where browsers' push services reach us when something is wrong: mailto: or https:.
    web_push_contact: str = Field("", validation_alias="CROWN_WEB_PUSH_CONTACT")
    # The private key that they know us by. Without one no browser can register.
    web_push_key: SecretStr = Field(SecretStr(""), validation_alias="CROWN_WEB_PUSH_KEY")
    # Browsers' push services that may be called; crown/egress.py says what an entry is.
    web_push_hosts: str = Field(_HOSTS, validation_alias="CROWN_WEB_PUSH_HOSTS")

    @field_validator("service_key")
    @classmethod
    def _are_service_accounts(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if not text.startswith(("{", "[")):
            try:
                text = Path(text).read_text(encoding="utf-8")
            except (OSError, ValueError):
                raise ValueError(_WRONG) from None
        return SecretStr(msgspec.json.encode(_accounts(text)).decode())

    @field_validator("web_push_contact")
    @classmethod
    def _is_contact(cls, value: str) -> str:
        if value and not _CONTACT.fullmatch(value):
            raise ValueError("must be mailto:… or https://…")
        return value

    @field_validator("web_push_key")
    @classmethod
    def _is_private_key(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if not value.get_secret_value():
            return value
        try:
            private_key(value.get_secret_value())
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError(_WRONG_KEY) from None
        if info.data.get("web_push_contact") == "":
            raise ValueError("goes with CROWN_WEB_PUSH_CONTACT only")
        return value

    @field_validator("web_push_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        Egress.of(value.split(","))
        return value

    @property
    def service_accounts(self) -> list[dict[str, Any]]:
        """The service accounts, the preferred one first: project_id, client_email, private_key, token_uri…"""
        found: list[dict[str, Any]] = msgspec.json.decode(self.service_key.get_secret_value())
        return found

    @property
    def egress(self) -> Egress | None:
        """The browsers' push services that may be called; None where there is no key."""
        return Egress.of(self.web_push_hosts.split(",")) if self.web_push_key.get_secret_value() else None

    @property
    def vapid(self) -> Vapid:
        """Who we are to them. Only where there is a key."""
        return Vapid(private_key(self.web_push_key.get_secret_value()), self.web_push_contact)


def _accounts(text: str) -> list[dict[str, Any]]:
    """The accounts in `text`. Raises ValueError, without the text, unless Google's library can sign with each,
    and all are of one project: a token belongs to a project, so an account of another could reach nobody."""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any] | list[dict[str, Any]])
        accounts = found if isinstance(found, list) else [found]
        for account in accounts:
            Credentials.from_service_account_info(account)  # type: ignore[no-untyped-call]
        projects = {account["project_id"] for account in accounts}
        good = len(projects) == 1 and all(isinstance(one, str) for one in projects)
        good = good and all(account["type"] == "service_account" for account in accounts)
    except (msgspec.MsgspecError, KeyError, ValueError, TypeError, AttributeError):
        good = False
    if not good:
        raise ValueError(_WRONG)
    return accounts
