"""What the e-mail service is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import getaddresses
from typing import Any

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from crown import addresses, shares
from crown.channel_settings import ChannelSettings
from crown.errors import Violation
from crown.link_settings import Origin
from crown.vault import Key
from services.email import unsubscribe_link
from services.email.message import Letterhead
from services.email.sendgrid import signature as sendgrid_signature
from services.email.sendgrid.signature import SendGridSignature
from services.email.smtp.server import SmtpServer
from services.email.unsubscribe_link import UnsubscribeLinks

_NEEDS: shares.Needs = {
    "smtp": ("SMTP_HOST", "smtp_host"),
    "sendgrid": ("CROWN_SENDGRID_API_KEY", "sendgrid_api_key"),
}


class EmailSettings(ChannelSettings):
    """Settings of the e-mail service."""

    # host, host:port, smtp://… or smtps://…; a secret, since it may hold user and password.
    smtp_host: SecretStr = Field(SecretStr(""), validation_alias="SMTP_HOST")
    smtp_user: str = Field("", validation_alias="SMTP_USER")
    smtp_password: SecretStr = Field(SecretStr(""), validation_alias="SMTP_PASSWORD")
    sendgrid_api_key: SecretStr = Field(SecretStr(""), validation_alias="CROWN_SENDGRID_API_KEY")
    sendgrid_url: Origin = Field("https://api.sendgrid.com", validation_alias="CROWN_SENDGRID_URL")
    # What SendGrid signs its callbacks with; several are separated by commas. Left out: all are refused.
    sendgrid_webhook_key: str = Field("", validation_alias="CROWN_SENDGRID_WEBHOOK_KEY")
    # Whether SendGrid is to tell who opens a mail and follows its links, for which it rewrites them.
    sendgrid_tracking: bool = Field(False, validation_alias="CROWN_SENDGRID_TRACKING")
    # "id:base64,…" of 32 bytes each: the first makes unsubscribe links, all read them. `data` stands for the one
    # that follows from the data key, which does both where nothing is set.
    unsubscribe_keys: SecretStr = Field(SecretStr(""), validation_alias="CROWN_UNSUBSCRIBE_KEYS")
    # "Crown <notifications@crown.example>": who people see, and where returned mail goes.
    sender: str = Field(validation_alias="CROWN_EMAIL_FROM")
    # In the order of preference, each with or without a weight; left out: those that are configured.
    providers: str = Field("", validation_alias="CROWN_EMAIL_PROVIDERS")

    @model_validator(mode="before")
    @classmethod
    def _ask_for_providers(cls, values: dict[str, Any]) -> dict[str, Any]:
        # What is wrong with a default is told by the name of the field, not of the variable.
        return {"CROWN_EMAIL_PROVIDERS": "", **values}

    @field_validator("sendgrid_api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[\x21-\x7e]*", value.get_secret_value()):
            raise ValueError("must be printable ASCII characters without spaces")
        return value

    @field_validator("smtp_host")
    @classmethod
    def _is_server(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            SmtpServer.parse(value.get_secret_value())
        return value

    @field_validator("sendgrid_webhook_key")
    @classmethod
    def _are_public_keys(cls, value: str) -> str:
        sendgrid_signature.keys(value)
        return value

    @field_validator("unsubscribe_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr) -> SecretStr:
        unsubscribe_link.keys(value.get_secret_value(), Key.fresh())
        return value

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        found = getaddresses([value])
        if (
            len(found) != 1
            or not value.isprintable()
            or isinstance(addresses.email(found[0][1], ""), Violation)
        ):
            raise ValueError("must be one address, such as Crown <notifications@crown.example>")
        return value

    @field_validator("providers")
    @classmethod
    def _are_configured(cls, value: str, info: ValidationInfo) -> str:
        return shares.configured(value, _NEEDS, info.data)

    @property
    def shares(self) -> Mapping[str, int]:
        """The providers in the order of preference, with their weights."""
        return shares.parse(self.providers, _NEEDS)

    @property
    def smtp_server(self) -> SmtpServer:
        """The mail server, and who to log in as."""
        server = SmtpServer.parse(self.smtp_host.get_secret_value())
        return server.with_login(self.smtp_user, self.smtp_password.get_secret_value())

    @property
    def unsubscribe_links(self) -> UnsubscribeLinks:
        """How people unsubscribe."""
        data_key = self.vault_key
        return UnsubscribeLinks(
            unsubscribe_link.keys(self.unsubscribe_keys.get_secret_value(), data_key), self.gateway_url
        )

    @property
    def sendgrid_signature(self) -> SendGridSignature:
        """How callbacks are known to be SendGrid's."""
        return SendGridSignature(sendgrid_signature.keys(self.sendgrid_webhook_key))

    @property
    def letterhead(self) -> Letterhead:
        """What every mail has in common."""
        name, address = getaddresses([self.sender])[0]
        return Letterhead(name, str(addresses.email(address, "")), self.links, self.unsubscribe_links)
