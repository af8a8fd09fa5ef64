"""What the SMS service is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import phonenumbers
from cryptography import x509
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from crown import shares
from crown.channel_settings import ChannelSettings
from crown.egress import Egress
from crown.link_settings import Origin
from services.sms.caps import Limits
from services.sms.numbers import Numbers
from services.sms.text import Texts

_KEY = re.compile(r"[A-Z]{2}[0-9a-zA-Z]{2,62}:[!-~]{2,128}")
_TOKEN = re.compile(r"[!-~]{2,128}")
# A number in E.164 form, a short code, a name, or a messaging service.
_SENDER = re.compile(
    r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|MG[0-9a-fA-F]{32}|(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9 &_+-]{0,10}"
)
_SNS_KEY = re.compile(r"[A-Z0-9]{4,128}:[!-~]{4,256}")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{2,9}){1,3}-[0-9]{1,2}")
_TOPIC = re.compile(r"arn:aws[a-z-]{0,12}:sns:[a-z0-9-]{4,32}:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
_PRICE = re.compile(r"[0-9]{1,3}(\.[0-9]{1,5})?")
_STATUS_PATH = "/webhooks/twilio/status"
_NEEDS: shares.Needs = {"twilio": ("SMS_API_KEY", "api_key"), "sns": ("CROWN_SNS_KEY", "sns_key")}


class SmsSettings(ChannelSettings):
    """Settings of the SMS service."""

    # "SID:token" of the account at Twilio, and the token that it had before: both sign callbacks during a change.
    api_key: SecretStr = Field(SecretStr(""), validation_alias="SMS_API_KEY")
    old_api_key: SecretStr = Field(SecretStr(""), validation_alias="SMS_API_KEY_OLD")
    twilio_url: Origin = Field("https://api.twilio.com", validation_alias="CROWN_TWILIO_URL")
    # Where Twilio tells what became of a text; left out: at the gateway, if its address is known.
    status_url: str = Field("", validation_alias="CROWN_SMS_STATUS_URL")

    # "ACCESS_KEY_ID:SECRET" of an account at AWS that may publish.
    sns_key: SecretStr = Field(SecretStr(""), validation_alias="CROWN_SNS_KEY")
    sns_region: str = Field("us-east-1", validation_alias="CROWN_SNS_REGION")
    # Left out: the region's own.
    sns_url: str = Field("", validation_alias="CROWN_SNS_URL")
    # US dollars that one text may cost; left out: the account's bound.
    sns_price_most: str = Field("", validation_alias="CROWN_SNS_PRICE_MOST")
    # Topics that callbacks may come on, separated by commas.
    sns_topics: str = Field("", validation_alias="CROWN_SNS_TOPICS")
    # For a sandbox: hosts besides those of AWS whose signing certificates count, and who must have issued them.
    sns_cert_hosts: str = Field("", validation_alias="CROWN_SNS_CERT_HOSTS")
    sns_ca_file: str = Field("", validation_alias="CROWN_SNS_CA_FILE")

    # Who texts come from: a number of the account, a short code, a name, or the SID of a messaging service; and who
    # they come from in some countries, "DE=Crown,GB=+44…".
    sender: str = Field(validation_alias="CROWN_SMS_FROM")
    senders: str = Field("", validation_alias="CROWN_SMS_SENDERS")
    # Countries that texts go to; left out: none.
    countries: str = Field("", validation_alias="CROWN_SMS_COUNTRIES")
    # Segments that one text may have; a longer one loses its end.
    segments_most: int = Field(6, validation_alias="CROWN_SMS_SEGMENTS_MOST", ge=1, le=10)
    # Segments that may be sent a day in all; an hour to a number, to numbers that differ in four digits, and to a
    # country.
    day_most: int = Field(10_000, validation_alias="CROWN_SMS_DAY_MOST", ge=0, le=1_000_000_000)
    number_hour_most: int = Field(20, validation_alias="CROWN_SMS_NUMBER_HOUR_MOST", ge=0, le=1_000_000_000)
    prefix_hour_most: int = Field(200, validation_alias="CROWN_SMS_PREFIX_HOUR_MOST", ge=0, le=1_000_000_000)
    country_hour_most: int = Field(
        2_000, validation_alias="CROWN_SMS_COUNTRY_HOUR_MOST", ge=0, le=1_000_000_000
    )
    # Of the day's segments, in percent: what one caller may use, so that its campaign leaves room for others; and
    # what is kept for security and CRITICAL, of a country's hour as well.
    caller_percent: int = Field(50, validation_alias="CROWN_SMS_CALLER_PERCENT", ge=1, le=100)
    reserve_percent: int = Field(20, validation_alias="CROWN_SMS_RESERVE_PERCENT", ge=0, le=90)
    # What a person hears who texts HELP; left out: nothing.
    help: str = Field("", validation_alias="CROWN_SMS_HELP", max_length=1_600)

    # In the order of preference, each with or without a weight; left out: those that are configured.
    providers: str = Field("", validation_alias="CROWN_SMS_PROVIDERS")

    @model_validator(mode="before")
    @classmethod
    def _ask_for_providers(cls, values: dict[str, Any]) -> dict[str, Any]:
        # What is wrong with a default is told by the name of the field, not of the variable.
        return {"CROWN_SMS_PROVIDERS": "", **values}

    @field_validator("api_key")
    @classmethod
    def _is_key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not _KEY.fullmatch(value.get_secret_value()):
            raise ValueError("must be the account's SID and token, SID:token")
        return value

    @field_validator("old_api_key")
    @classmethod
    def _is_token(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value().rpartition(":")[2]
        if value.get_secret_value() and not _TOKEN.fullmatch(token):
            raise ValueError("must be a token, or the account's SID and token, SID:token")
        return SecretStr(token)

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        if not _SENDER.fullmatch(value):
            raise ValueError("must be a number in E.164 form, a short code, a name or a messaging service")
        return value

    @field_validator("senders")
    @classmethod
    def _are_senders(cls, value: str) -> str:
        for country, sender in _pairs(value):
            if not _is_country(country) or not _SENDER.fullmatch(sender):
                raise ValueError("must be senders by country, such as DE=Crown,GB=+447400000001")
        return value

    @field_validator("countries")
    @classmethod
    def _are_countries(cls, value: str) -> str:
        if not all(_is_country(country) for country in _items(value)):
            raise ValueError("must be countries by their two letters, such as US,DE")
        return value

    @field_validator("status_url", "sns_url")
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

    @field_validator("sns_key")
    @classmethod
    def _is_sns_key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not _SNS_KEY.fullmatch(value.get_secret_value()):
            raise ValueError("must be an access key and its secret, ACCESS_KEY_ID:SECRET")
        return value

    @field_validator("sns_region")
    @classmethod
    def _is_region(cls, value: str) -> str:
        if not _REGION.fullmatch(value):
            raise ValueError("must be a region such as eu-west-1")
        return value

    @field_validator("sns_price_most")
    @classmethod
    def _is_price(cls, value: str) -> str:
        if value and not _PRICE.fullmatch(value):
            raise ValueError("must be US dollars, such as 0.10")
        return value

    @field_validator("sns_topics")
    @classmethod
    def _are_topics(cls, value: str) -> str:
        if not all(_TOPIC.fullmatch(topic) for topic in _items(value)):
            raise ValueError("must be ARNs of topics, separated by commas")
        return value

    @field_validator("sns_cert_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        Egress.of(_items(value))
        return value

    @field_validator("sns_ca_file")
    @classmethod
    def _has_certificates(cls, value: str) -> str:
        if value:
            _certificates(value)
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
    def account(self) -> tuple[str, str]:
        """SID and token."""
        sid, _, token = self.api_key.get_secret_value().partition(":")
        return sid, token

    @property
    def twilio_tokens(self) -> tuple[str, ...]:
        """What Twilio may sign callbacks with; empty where there is no account."""
        return tuple(token for token in (self.account[1], self.old_api_key.get_secret_value()) if token)

    @property
    def sns_account(self) -> tuple[str, str]:
        """Access key and secret."""
        key, _, secret = self.sns_key.get_secret_value().partition(":")
        return key, secret

    @property
    def sns_endpoint(self) -> str:
        """Where SNS is called."""
        below = "amazonaws.com.cn" if self.sns_region.startswith("cn-") else "amazonaws.com"
        return self.sns_url or f"https://sns.{self.sns_region}.{below}"

    @property
    def topics(self) -> frozenset[str]:
        """The topics that callbacks may come on."""
        return frozenset(_items(self.sns_topics))

    @property
    def cert_hosts(self) -> tuple[str, ...]:
        """Hosts besides those of AWS whose signing certificates count."""
        return tuple(_items(self.sns_cert_hosts))

    @property
    def issuers(self) -> tuple[x509.Certificate, ...]:
        """Who must have issued the certificates of those hosts."""
        return tuple(_certificates(self.sns_ca_file)) if self.sns_ca_file else ()

    @property
    def status_address(self) -> str:
        """Where Twilio is to tell what became of a text; empty: nowhere."""
        return self.status_url or (f"{self.gateway_url}{_STATUS_PATH}" if self.gateway_url else "")

    @property
    def texts(self) -> Texts:
        """What texts say."""
        return Texts(self.links, self.segments_most)

    @property
    def numbers(self) -> Numbers:
        """Where texts may go, and who they come from."""
        return Numbers(_items(self.countries), dict(_pairs(self.senders)), self.sender)

    @property
    def limits(self) -> Limits:
        """The caps."""
        return Limits(
            self.number_hour_most,
            self.prefix_hour_most,
            self.country_hour_most,
            self.day_most,
            self.caller_percent,
            self.reserve_percent,
        )


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _pairs(value: str) -> list[tuple[str, str]]:
    parts = (item.partition("=") for item in _items(value))
    return [(country.strip(), sender.strip()) for country, _, sender in parts]


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError):
        raise ValueError("must be the path of a file of certificates in PEM") from None


def _is_country(value: str) -> bool:
    return value in phonenumbers.SUPPORTED_REGIONS
