"""docs/settings.md names every variable that a service reads, and none that nobody reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crown.settings import ProcessSettings, variable
from services.email.settings import EmailSettings
from services.ingest.filter_settings import OwnFilterSettings
from services.ingest.settings import IngestSettings
from services.push.settings import PushSettings
from services.realtime.relay.settings import RelaySettings
from services.realtime.settings import Settings as RealtimeSettings
from services.sms.settings import SmsSettings

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
ALL: tuple[type[ProcessSettings], ...] = (
    IngestSettings,
    OwnFilterSettings,
    EmailSettings,
    PushSettings,
    SmsSettings,
    RealtimeSettings,
    RelaySettings,
)
READ = {variable(field, name) for cls in ALL for name, field in cls.model_fields.items()}


@pytest.mark.parametrize("name", sorted(READ))
def test_the_page_names_what_is_read(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_what_the_page_names_is_read() -> None:
    services = PAGE.partition("## Gateway")[0]
    assert set(re.findall(r"`(CROWN_[A-Z_]+)`", services)) <= READ
