"""What a service needs to know that a webhook comes from this stack."""

from __future__ import annotations

from pathlib import Path

from crown import vault
from crown.webhook_secrets import WebhookSecrets, parse
from stack.control import Stack
from stack.errors import StackError
from stack.secrets import read

_SETTING, _DATA_KEY = "CROWN_WEBHOOK_SECRET", "CROWN_DATA_KEY"


def of(stack: Stack, service: str) -> str:
    """The newest secret of `service`. Raises StackError where the setting is wrong."""
    try:
        given = parse(_given(stack, _SETTING))
    except ValueError as error:
        raise StackError(f"{_SETTING}: {error}") from None
    stack.layout.make()
    data_key = vault.data_key(_given(stack, _DATA_KEY) or read(stack.secrets.data_key()))
    return WebhookSecrets(given, data_key).of(service)[0]


def _given(stack: Stack, name: str) -> str:
    found = stack.secrets.as_file(stack.settings.given, name)
    return read(Path(found[f"{name}_FILE"])) if found else ""
