"""What the stack's own processes read from the environment: loopback addresses, secrets from files, and
problems told by the variable's name, never by its value."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings

S = TypeVar("S", bound=BaseSettings)


def _loopback(address: str) -> str:
    try:
        local = ipaddress.ip_address(address).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ValueError("must be a loopback address: these servers hold addresses and texts of people")
    return address


Loopback = Annotated[str, AfterValidator(_loopback)]
Port = Annotated[int, Field(ge=0, le=65_535)]


def secrets_from_files(values: Any, *names: str) -> Any:
    """For a `model_validator(mode="before")`: puts what NAME_FILE points to in the place of NAME.

    A validator of the whole class starts its message with the variable, without the prefix: see `load`.
    """
    if not isinstance(values, Mapping):
        return values
    merged = dict(values)
    for name in names:
        path = merged.pop(f"{name}_file", None)
        if path is None:
            continue
        if merged.get(name) is not None:
            raise ValueError(f"{name.upper()} and {name.upper()}_FILE are both set")
        try:
            merged[name] = Path(path).read_text().strip()
        except OSError as error:
            raise ValueError(f"{name.upper()}_FILE: {error.strerror}") from None
    return merged


def load(settings: type[S]) -> S:
    """The settings, or exit status 2 with one line per variable that is wrong."""
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        for problem in error.errors(include_input=False, include_url=False):
            field = "_".join(str(part) for part in problem["loc"]).upper()
            text = problem["msg"].removeprefix("Value error, ")
            print(f"{prefix}{field}: {text}" if field else f"{prefix}{text}", file=sys.stderr)
        raise SystemExit(2) from None
