"""E-mail addresses and phone numbers: one each, in one form."""

from __future__ import annotations

import pytest

from crown import addresses
from crown.errors import Violation


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ann@example.org", "ann@example.org"),
        ("Ann@Example.ORG", "Ann@example.org"),
        ("a+b@mail.example.org", "a+b@mail.example.org"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
    ],
)
def test_email(value: str, expected: str) -> None:
    assert addresses.email(value, "to") == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ann",
        "ann@example",
        "ann@@example.org",
        "victim@example.org, other@example.net",
        "victim@example.org; other@example.net",
        "Ann <ann@example.org>",
        "<ann@example.org>",
        "friends: ann@example.org;",
        '"ann"@example.org',
        "ann@example.org\r\nBcc: eve@example.net",
        "ann@example.org\u2028Bcc: eve@example.net",
        "ann@example.org ",
        "ann\x00@example.org",
        "ünn@example.org",
        "ann@[127.0.0.1]",
        "ann@host.local",
        f"{'a' * 65}@example.org",
        f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 60}.org",
    ],
)
def test_no_email(value: str) -> None:
    found = addresses.email(value, "address.email")
    assert isinstance(found, Violation)
    assert found.field == "address.email"


@pytest.mark.parametrize("value", ["+14155550123", "+15005550001", "+491701234567"])
def test_phone(value: str) -> None:
    assert addresses.phone(value, "to") == value


@pytest.mark.parametrize(
    "value",
    ["", "4155550123", "14155550123", "+1415555012", "+999123456789", "+12", "tel:+14155550123", "+1x"],
)
def test_no_phone(value: str) -> None:
    found = addresses.phone(value, "phone")
    assert isinstance(found, Violation)
    assert found.field == "phone"
