"""Licences: each is known and may be used, and the page says what is locked."""

from __future__ import annotations

from email.message import Message

import pytest

from tools import licences


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Message:
    """What a package tells of itself."""
    message = Message()
    monkeypatch.setattr(licences, "metadata", lambda _name: message)
    return message


def test_the_page_says_what_is_locked() -> None:
    assert licences.page() == licences.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("field", "text", "found"),
    [
        ("License-Expression", "MIT", "MIT"),
        ("License-Expression", "GPL-3.0-only OR MIT", "GPL-3.0-only OR MIT"),
        ("License", "Apache 2.0", "Apache-2.0"),
        ("Classifier", "License :: OSI Approved :: MIT License", "MIT"),
    ],
)
def test_what_is_allowed(told: Message, field: str, text: str, found: str) -> None:
    told[field] = text
    assert licences.licence("heron") == found


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("License-Expression", "GPL-3.0-only"),
        ("License-Expression", "MIT AND GPL-3.0-only"),
        ("License-Expression", "(AGPL-3.0-only OR SSPL-1.0) AND MIT"),
        ("License", "Heron's own"),
        ("License", "A page of text\nthat begins like one"),
        ("Classifier", "License :: OSI Approved :: BSD License"),
        ("Classifier", "Programming Language :: Python"),
    ],
)
def test_what_somebody_has_to_look_at(told: Message, field: str, text: str) -> None:
    told[field] = text
    with pytest.raises(licences.UnknownLicence, match="heron"):
        licences.licence("heron")
