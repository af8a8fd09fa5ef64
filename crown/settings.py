"""Settings that every service shares, read once from the environment. A secret may come as NAME or as
NAME_FILE, the path of a file that holds it. Every problem is reported at once, without values."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from crown import catalogue, vault


class SettingsError(Exception):
    """Every wrong setting, one `VARIABLE: what is allowed` each. Values never appear."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _within(low: int, high: int) -> AfterValidator:
    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return value

    return AfterValidator(check)


Port = Annotated[int, _within(1, 65535)]
# A key drawn at random has about thirty different bytes; one with fewer than these was made up.
_KEY_BYTES_LEAST = 12
_DSN = re.compile(r"https?://[0-9A-Za-z]+(?::[0-9A-Za-z]+)?@[^/@\s]+/(?:[^@\s]*/)?[0-9]+/?")
_PAIR = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+=[\x21-\x7e][\x20-\x7e]*")
_GRPC_ADDRESS = re.compile(r"(?:dns:///)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


class _Files(PydanticBaseSettingsSource):
    """Values of NAME_FILE variables; NAME itself wins where both are set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = variable(field, field_name)
        try:
            return _from_file(name), name, False
        except SettingsError:
            # `load` tells of it, together with all else.
            return None, name, False

    def __call__(self) -> dict[str, Any]:
        found = (self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items())
        return {name: value for value, name, _ in found if value is not None}


def _from_file(name: str) -> str | None:
    """What the file that NAME_FILE names holds; None where it is not set. Raises SettingsError."""
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError([f"{name}_FILE: cannot read the file ({why})"]) from None


def variable(field: FieldInfo, name: str) -> str:
    """The environment variable that sets `field`."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return str(alias or name)


def file_of(name: str) -> Path | None:
    """The file that the secret `name` comes from, for who reads it again as it changes; None where `name`
    itself is set."""
    path = os.environ.get(f"{name}_FILE")
    return Path(path) if path and not os.environ.get(name) else None


def _check_pairs(text: str) -> None:
    if not all(_PAIR.fullmatch(part.strip()) for part in filter(None, text.split(","))):
        raise ValueError("must be name=value, several separated by commas")


class ProcessSettings(BaseSettings):
    """What every process is told, whatever it reaches. Subclasses add what only they know; `load` reads all."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True, case_sensitive=True
    )

    bind: str = Field("0.0.0.0", validation_alias="CROWN_BIND")
    grpc_port: Port = Field(50051, validation_alias="CROWN_GRPC_PORT")
    metrics_port: Port = Field(9090, validation_alias="CROWN_METRICS_PORT")
    # The folder of our certificate (tls.crt, tls.key) and the suite's authority (ca.crt): every port that others call
    # then speaks TLS and wants theirs. Empty: in the clear.
    tls_folder: str = Field("", validation_alias="CROWN_TLS_FOLDER")
    # The names in the certificates of those who may call, separated by commas.
    tls_callers: str = Field("gateway", validation_alias="CROWN_TLS_CALLERS")
    # A port in the clear that tells health and nothing else, for probes that have no certificate; 0: none.
    health_port: int = Field(0, validation_alias="CROWN_HEALTH_PORT", ge=0, le=65_535)
    # Seconds that running work gets on SIGTERM before it is left to redelivery.
    grace_s: float = Field(10.0, validation_alias="CROWN_GRACE_S", ge=0, le=600, allow_inf_nan=False)
    log_level: str = Field("INFO", validation_alias="CROWN_LOG_LEVEL")

    # The collector that spans are sent to, by OTLP over HTTP: its address without a path; empty: none are made.
    otlp_endpoint: str = Field(
        "", validation_alias=AliasChoices("CROWN_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    # What goes with each request to it, as `name=value,name=value`.
    otlp_headers: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("CROWN_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
    )
    # What is said of this process besides its name, as `name=value,name=value`.
    otlp_resource: str = Field("", validation_alias="OTEL_RESOURCE_ATTRIBUTES")
    # The part of the traces that begin here which is sampled; whoever calls with a trace has decided.
    trace_ratio: float = Field(0.01, validation_alias="CROWN_TRACE_RATIO", ge=0, le=1, allow_inf_nan=False)

    # Whom gRPC reflection answers: everybody who reaches it (`open`), or who shows the token of an `operator`.
    reflection: Literal["open", "operator"] = Field("open", validation_alias="CROWN_REFLECTION")

    # Where tests kill this process, see crown/failpoint.py; empty in real life.
    failpoint: str = Field("", validation_alias="CROWN_FAILPOINT")
    # Where errors with a traceback are reported, as Sentry's clients take it; empty: nowhere.
    sentry_dsn: SecretStr = Field(SecretStr(""), validation_alias="CROWN_SENTRY_DSN")

    @field_validator("bind")
    @classmethod
    def _is_ip_address(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("must be an IP address of this machine, 0.0.0.0 for all") from None
        return value

    @field_validator("failpoint")
    @classmethod
    def _is_place(cls, value: str) -> str:
        place, _, path = value.partition(":")
        if value and not (place and path):
            raise ValueError("must be place:path")
        return value

    @field_validator("sentry_dsn")
    @classmethod
    def _known_dsn(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and not (_is_address(text, "http", "https") and _DSN.fullmatch(text)):
            raise ValueError("must be https://<key>@<host>/<project>")
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector_address(cls, value: str) -> str:
        if value and not (_is_address(value, "http", "https") and urlsplit(value).path in {"", "/"}):
            raise ValueError("must be http://host:port or https://host:port, without a path")
        return value

    @field_validator("otlp_headers")
    @classmethod
    def _header_pairs(cls, value: SecretStr) -> SecretStr:
        _check_pairs(value.get_secret_value())
        return value

    @field_validator("otlp_resource")
    @classmethod
    def _resource_pairs(cls, value: str) -> str:
        _check_pairs(value)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then NAME_FILE."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _Files(settings_cls)

    @classmethod
    def load(cls) -> Self:
        """Reads the environment. Raises SettingsError naming every variable that is wrong or missing."""
        problems = _unreadable(cls)
        try:
            found = cls()
        except ValidationError as error:
            told = {problem.partition("_FILE: ")[0] for problem in problems}
            problems += [
                _problem(item) for item in error.errors() if not told & {str(p) for p in item["loc"]}
            ]
        if problems:
            raise SettingsError(problems)
        return found


class TokenSettings(ProcessSettings):
    """What every process is told that checks who calls."""

    jwks: str = Field(validation_alias="CROWN_JWKS")
    jwt_issuer: str = Field(validation_alias="CROWN_JWT_ISSUER")
    jwt_audience: str = Field("crown-notification", validation_alias="CROWN_JWT_AUDIENCE")

    @field_validator("jwks")
    @classmethod
    def _keys_address(cls, value: str) -> str:
        if "://" in value and not _is_address(value, "https", "http"):
            raise ValueError("must be a path or an https address")
        return value


class Settings(TokenSettings):
    """What every service is told that works with the bus and the stores."""

    nats_url: str = Field(validation_alias="NATS_URL")
    nats_user: str = Field("", validation_alias="NATS_USER")
    nats_password: SecretStr = Field(SecretStr(""), validation_alias="NATS_PASSWORD")
    database_url: SecretStr = Field(validation_alias="DATABASE_URL")
    redis_host: SecretStr = Field(validation_alias="REDIS_HOST")

    data_key: SecretStr = Field(validation_alias="CROWN_DATA_KEY")
    # Keys that seal in its place, for a change: the first seals, all open, and `data` stands for the data key, which
    # opens in any case. Hashes follow from the data key alone, so that they stay what they are.
    seal_keys: SecretStr = Field(SecretStr(""), validation_alias="CROWN_SEAL_KEYS")

    # Bytes at which an intake or delivery stream refuses more. Twelve streams at this size must stay
    # below 80 % of the server's max_file_store.
    stream_max_bytes: int = Field(1 << 30, validation_alias="CROWN_STREAM_MAX_BYTES", ge=1 << 16)

    # How many servers of a NATS cluster hold each stream, from when it is made on.
    stream_replicas: int = Field(1, validation_alias="CROWN_STREAM_REPLICAS")

    # A file of kinds and categories that is laid over crown/catalogue.toml; empty: none.
    catalogue: str = Field("", validation_alias="CROWN_CATALOGUE")

    @field_validator("catalogue")
    @classmethod
    def _catalogue_of_ours(cls, value: str) -> str:
        if value:
            catalogue.read_file(value)
        return value

    @field_validator("stream_replicas")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value not in (1, 3, 5):
            raise ValueError("must be 1, 3 or 5")
        return value

    @field_validator("nats_url")
    @classmethod
    def _nats_addresses(cls, value: str) -> str:
        if not all(_is_address(part.strip(), "nats", "tls") for part in value.split(",")):
            raise ValueError("must be nats://host:port, several separated by commas")
        return value

    @field_validator("database_url")
    @classmethod
    def _mongo_address(cls, value: SecretStr) -> SecretStr:
        address = value.get_secret_value()
        if not address.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must be mongodb://… or mongodb+srv://…")
        if address.startswith("mongodb://") and not _mongo_takes(address):
            raise ValueError("is not an address that MongoDB's driver takes")
        return value

    @field_validator("redis_host")
    @classmethod
    def _redis_address(cls, value: SecretStr) -> SecretStr:
        return SecretStr(redis_url(value.get_secret_value()))

    @field_validator("seal_keys")
    @classmethod
    def _are_seal_keys(cls, value: SecretStr) -> SecretStr:
        vault.sealing_keys(value.get_secret_value(), bytes(32))
        return value

    @property
    def vault_key(self) -> vault.Key:
        """The data key, with those that seal in its place."""
        return vault.data_key(self.data_key.get_secret_value(), self.seal_keys.get_secret_value())

    @field_validator("data_key")
    @classmethod
    def _key_size(cls, value: SecretStr) -> SecretStr:
        try:
            key = base64.b64decode(value.get_secret_value(), validate=True)
        except ValueError:
            key = b""
        if len(key) != 32:
            raise ValueError("must be 32 bytes in base64")
        if len(set(key)) < _KEY_BYTES_LEAST:
            raise ValueError("must be drawn at random: `openssl rand -base64 32`")
        return value


def _unreadable(settings_type: type[ProcessSettings]) -> list[str]:
    problems = []
    for name, field in settings_type.model_fields.items():
        try:
            _from_file(variable(field, name))
        except SettingsError as error:
            problems += error.problems
    return problems


def _problem(item: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in item["loc"]) or "settings"
    if item["type"] == "missing":
        return f"{name}: is required"
    return f"{name}: {str(item['msg']).removeprefix('Value error, ')}"


def grpc_address(value: str) -> str:
    """`value`, where it is host:port. Raises ValueError."""
    found = _GRPC_ADDRESS.fullmatch(value)
    if found is None or not 1 <= int(found[1]) <= 65_535:
        raise ValueError("must be host:port")
    return value


def _is_address(value: str, *schemes: str) -> bool:
    """Whether `value` is scheme://host or scheme://host:port, with or without more."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and port != 0


def _mongo_takes(address: str) -> bool:
    # Late: the driver takes a while to load.
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    try:
        parse_uri(address, warn=True)
    except (PyMongoError, ValueError):
        return False
    return True


def redis_url(value: str) -> str:
    """`host`, `host:port` or a redis:// URL, as a URL."""
    url = value if "://" in value else f"redis://{value if ':' in value else f'{value}:6379'}/0"
    database = urlsplit(url).path.strip("/") if _is_address(url, "redis", "rediss") else "none"
    if not (database or "0").isdecimal():
        raise ValueError("must be host, host:port or redis://…")
    return url


def environment(**changes: str) -> dict[str, str]:
    """The environment of another process of ours: our own, with `changes`."""
    return {**os.environ, **changes}


def exit_with(error: SettingsError) -> NoReturn:
    """Ends the process with the list of problems; used by every __main__."""
    for problem in error.problems:
        print(f"wrong setting  {problem}", file=sys.stderr)  # noqa: T201 -- logging is not set up yet
    raise SystemExit(2)
