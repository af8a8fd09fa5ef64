"""What the sandbox reads from its environment, all under CROWN_SANDBOX_."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stack.environment import Loopback, Port, secrets_from_files


class Settings(BaseSettings):
    """A provider without its key or account refuses everybody."""

    model_config = SettingsConfigDict(env_prefix="CROWN_SANDBOX_", env_ignore_empty=True, frozen=True)

    port: Port = 3009
    bind: Loopback = "127.0.0.1"
    ledger: Path | None = None
    """Where the ledger is kept, a line of JSON per entry; without it the ledger dies with the process."""
    sendgrid_key: SecretStr | None = None
    sendgrid_key_file: Path | None = None
    twilio_key: SecretStr | None = None
    """`SID:token`."""
    twilio_key_file: Path | None = None
    sns_key: SecretStr | None = None
    """`ACCESS_KEY_ID:SECRET`."""
    sns_key_file: Path | None = None
    service_account: Path | None = None
    """The service account's JSON: its key verifies assertions, its project is the only one that FCM knows."""

    callbacks: Literal["on", "off"] = "off"
    """Whether what was sent is told to be delivered without a script that says so."""
    gateway_url: str = ""
    """Where callbacks go to whose address does not come with the message; without it there are none."""
    sendgrid_webhook_key: Path | None = None
    """The private key, in PEM, that signs SendGrid's events."""
    sns_signer: Path | None = None
    """What signs messages of SNS topics: private key and certificate, in PEM."""
    sns_topic: str = "arn:aws:sns:us-east-1:000000000000:crown-sms"
    """The topic that SNS tells on what became of texts."""

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, values: Any) -> Any:
        return secrets_from_files(values, "sendgrid_key", "sns_key", "twilio_key")
