"""Addresses of people: what is one, and its one normal form. Pure; whether anybody is there, only a provider
can tell."""

from __future__ import annotations

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumberFormat

from crown.errors import Violation

_EMAIL_MOST_CHARS = 254


def email(value: str, field: str) -> str | Violation:
    """`value` as exactly one address, its domain in lower-case ASCII; or what is wrong with it. A display
    name, a quoted or non-ASCII local part and a domain that mail cannot reach are refused."""
    try:
        # `strict` also bounds the part before the @ at 64 characters, as SMTP does.
        found = validate_email(value, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError as error:
        return Violation(field, f"must be one e-mail address: {error}", "email.address")
    address = found.ascii_email or ""
    if not address or len(address) > _EMAIL_MOST_CHARS:
        return Violation(field, f"must be at most {_EMAIL_MOST_CHARS} characters", "email.length")
    return address


def phone(value: str, field: str) -> str | Violation:
    """`value` in E.164 form; or what is wrong with it. The length must fit the country. Whether the number is
    in use is left to the provider: lists of ranges lag behind the world."""
    wrong = Violation(field, "must be a phone number in E.164 form, such as +14155550123", "phone.number")
    if not value.startswith("+"):
        return wrong
    try:
        number = phonenumbers.parse(value, None)
    except NumberParseException:
        return wrong
    if not phonenumbers.is_possible_number(number):
        return wrong
    return str(phonenumbers.format_number(number, PhoneNumberFormat.E164))
