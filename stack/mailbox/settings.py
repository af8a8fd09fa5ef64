"""What the mailbox reads from its environment, all under CROWN_MAILBOX_."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stack.environment import Loopback, Port, secrets_from_files


class Settings(BaseSettings):
    """With `user` and `password` nobody may send without them."""

    model_config = SettingsConfigDict(env_prefix="CROWN_MAILBOX_", env_ignore_empty=True, frozen=True)

    bind: Loopback = "127.0.0.1"
    smtp_port: Port = 3025
    http_port: Port = 3008
    store: Path | None = None
    """Where the mail is kept, a line of JSON each; without it the mail dies with the process."""
    pipelining: bool = True
    """Whether several commands may be sent at once; of servers that people use, most allow it."""
    user: str = ""
    password: SecretStr | None = None
    password_file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, values: Any) -> Any:
        return secrets_from_files(values, "password")

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if bool(self.user) != (self.password is not None):
            raise ValueError("USER and CROWN_MAILBOX_PASSWORD come together")
        return self
