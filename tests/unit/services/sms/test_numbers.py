"""Which numbers texts may go to, and who they come from."""

from __future__ import annotations

import pytest

from services.sms.numbers import Numbers

OWN = "+15005550006"
NUMBERS = Numbers({"US", "GB", "DE", "FR"}, {"DE": "Crown", "GB": "+447400000001"}, OWN)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+14155550123", ""),
        ("+15005550001", ""),  # Twilio's numbers that fail on purpose
        ("+491701234567", ""),
        ("+447400123456", ""),
        ("+447700900123", ""),  # kept free for fiction, so in no range
        ("+18765551234", "COUNTRY_NOT_ALLOWED"),  # Jamaica, by the code of North America
        ("+14735551234", "COUNTRY_NOT_ALLOWED"),  # Grenada
        ("+12345", "COUNTRY_NOT_ALLOWED"),
        ("+393312345678", "COUNTRY_NOT_ALLOWED"),
        ("+870773123456", "COUNTRY_NOT_ALLOWED"),  # a satellite's
        ("+881612345678", "COUNTRY_NOT_ALLOWED"),
        ("+19005551234", "NUMBER_TYPE_NOT_ALLOWED"),
        ("+18005551234", "NUMBER_TYPE_NOT_ALLOWED"),
        ("+33812345678", "NUMBER_TYPE_NOT_ALLOWED"),
        ("+491805123456", "NUMBER_TYPE_NOT_ALLOWED"),
        ("+447012345678", "NUMBER_TYPE_NOT_ALLOWED"),  # personal, and dear
        ("+447600123456", "NUMBER_TYPE_NOT_ALLOWED"),  # a pager
        (OWN, "OWN_NUMBER"),
        ("+447400000001", "OWN_NUMBER"),
    ],
)
def test_refusals(number: str, expected: str) -> None:
    assert NUMBERS.refusal(number) == expected


def test_nothing_goes_anywhere_by_default() -> None:
    assert Numbers((), {}, OWN).refusal("+14155550123") == "COUNTRY_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("number", "country", "sender"),
    [
        ("+14155550123", "US", OWN),
        ("+491701234567", "DE", "Crown"),
        ("+447700900123", "GB", "+447400000001"),
        ("+18765551234", "JM", OWN),
        ("+870773123456", "", OWN),
    ],
)
def test_countries_and_senders(number: str, country: str, sender: str) -> None:
    assert NUMBERS.country(number) == country
    assert NUMBERS.sender(country) == sender
