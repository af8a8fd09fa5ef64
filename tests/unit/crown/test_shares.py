"""How providers are named in a setting."""

from __future__ import annotations

import pytest

from crown import shares

KNOWN = ("sendgrid", "smtp")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (" , ", {}),
        ("smtp", {"smtp": 1}),
        ("smtp, sendgrid", {"smtp": 1, "sendgrid": 0}),
        ("sendgrid:3,smtp:1", {"sendgrid": 3, "smtp": 1}),
        ("sendgrid : 3 , smtp", {"sendgrid": 3, "smtp": 0}),
        ("smtp,sendgrid:5", {"smtp": 0, "sendgrid": 5}),
        ("smtp:0,sendgrid:0", {"smtp": 1, "sendgrid": 0}),
    ],
)
def test_names_and_weights(text: str, found: dict[str, int]) -> None:
    parsed = shares.parse(text, KNOWN)
    assert parsed == found
    assert list(parsed) == list(found)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pigeon", "must list sendgrid and smtp"),
        ("smtp,smtp", "lists smtp twice"),
        ("smtp:", "no number from 0 to 1000"),
        ("smtp:-1", "no number from 0 to 1000"),
        ("smtp:1001", "no number from 0 to 1000"),
        ("smtp:²", "no number from 0 to 1000"),
        ("smtp:half", "no number from 0 to 1000"),
    ],
)
def test_what_is_wrong_is_told(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        shares.parse(text, KNOWN)
