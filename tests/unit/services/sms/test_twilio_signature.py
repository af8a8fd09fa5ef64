"""Signatures of Twilio, made by its own SDK."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

import pytest
from twilio.request_validator import RequestValidator

from crown.errors import SignatureInvalid
from services.sms.twilio.signature import SETTINGS, SIGNATURE, TwilioSignature

TOKEN, OLD = "a" * 32, "b" * 32
URL = "https://api.crown.example/webhooks/twilio/status?notification_id=n-1&delivery_id=d1"
FORM = {
    "MessageSid": "SM1",
    "MessageStatus": "delivered",
    "To": "+14155550123",
    "Body": "Grüße & 1+1 = 2",
    "Empty": "",
}
BODY = urlencode(FORM).encode()
CHECKS = TwilioSignature((TOKEN, OLD))


def signed(
    url: str = URL, form: Mapping[str, str] = FORM, token: str = TOKEN, algorithm: str = ""
) -> dict[str, str]:
    """The headers of a call."""
    signature = RequestValidator(token).compute_signature(url, form, algorithm or None)
    settings = {SETTINGS: f"key=webhooks_sharedkey_1,algorithm={algorithm}"} if algorithm else {}
    return {SIGNATURE: signature, **settings}


@pytest.mark.parametrize("token", [TOKEN, OLD])
@pytest.mark.parametrize("algorithm", ["", "HMAC_SHA1", "HMAC_SHA256"])
def test_what_twilio_signs(token: str, algorithm: str) -> None:
    assert CHECKS.open(URL, BODY, signed(token=token, algorithm=algorithm)) == FORM


@pytest.mark.parametrize("signed_at", [URL, URL.replace("example/", "example:443/")])
@pytest.mark.parametrize("reached_at", [URL, URL.replace("example/", "example:443/")])
def test_with_a_port_and_without(signed_at: str, reached_at: str) -> None:
    assert CHECKS.open(reached_at, BODY, signed(signed_at)) == FORM


def test_nothing_is_good_without_a_token() -> None:
    for checks in (TwilioSignature(()), TwilioSignature(("",))):
        with pytest.raises(SignatureInvalid):
            checks.open(URL, BODY, signed(token="c"))
    with pytest.raises(SignatureInvalid):
        TwilioSignature(()).open(URL, b"", {SIGNATURE: ""})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {SIGNATURE: ""},
        {SIGNATURE: "é"},
        signed(token="c" * 32),
        signed(form={**FORM, "MessageStatus": "failed"}),
        signed(url=URL.replace("https", "http")),
        signed(url=URL.replace("crown.example", "evil.example")),
        {**signed(), SETTINGS: "algorithm=HMAC_SHA256"},
        {**signed(algorithm="HMAC_SHA256"), SETTINGS: "algorithm=HMAC_MD5"},
        {**signed(algorithm="HMAC_SHA256"), SETTINGS: "algorithm=none"},
    ],
)
def test_what_is_not_signed(headers: dict[str, str]) -> None:
    with pytest.raises(SignatureInvalid):
        CHECKS.open(URL, BODY, headers)


@pytest.mark.parametrize("url", ["", "/webhooks/twilio/status", "ftp://x", "https://"])
def test_nobody_calls_where_we_are_not_reached(url: str) -> None:
    with pytest.raises(SignatureInvalid):
        CHECKS.open(url, BODY, signed(url))


def _meaning(body: bytes) -> object:
    try:
        return sorted(
            set(parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"))
        )
    except ValueError:
        return None


def test_every_altered_byte_of_the_body() -> None:
    headers = signed()
    for place in range(len(BODY)):
        for byte in {BODY[place] ^ 1, BODY[place] ^ 32, ord("&"), ord("="), ord("%"), 0xFF} - {BODY[place]}:
            altered = BODY[:place] + bytes([byte]) + BODY[place + 1 :]
            if _meaning(altered) == _meaning(BODY):
                continue  # %2B and %2b
            with pytest.raises(SignatureInvalid):
                CHECKS.open(URL, altered, headers)


def test_every_altered_byte_of_address_and_signature() -> None:
    headers = signed()
    for place in range(len(URL)):
        altered = URL[:place] + chr(ord(URL[place]) ^ 1) + URL[place + 1 :]
        with pytest.raises((SignatureInvalid, ValueError)):
            CHECKS.open(altered, BODY, headers)
    for place in range(len(headers[SIGNATURE])):
        given = headers[SIGNATURE]
        altered = given[:place] + chr(ord(given[place]) ^ 1) + given[place + 1 :]
        with pytest.raises(SignatureInvalid):
            CHECKS.open(URL, BODY, {SIGNATURE: altered})


@pytest.mark.parametrize(
    "body", [b"{}", b"\xff", b"a=%ff", b"&".join(b"a=%d" % n for n in range(300)), b"x" * (1 << 20)]
)
def test_what_is_no_form(body: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        CHECKS.open(URL, body, signed(form={}))


def test_a_parameter_that_comes_twice() -> None:
    assert CHECKS.open(URL, b"a=1&a=1", signed(form={"a": "1"})) == {"a": "1"}
    with pytest.raises(SignatureInvalid):
        CHECKS.open(URL, b"a=1&a=2", signed(form={"a": "1"}))
