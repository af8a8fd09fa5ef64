"""What the relay is told; it is not told of bus and stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from crown.settings import SettingsError, file_of
from services.realtime.relay.settings import RelaySettings

GIVEN = {
    "CROWN_RELAY_FEEDS": "/etc/crown/feeds.toml",
    "CROWN_INGEST_ADDRESS": "127.0.0.1:3030",
    "CROWN_RELAY_TOKEN": "hush",
}


@pytest.fixture(autouse=True)
def told(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment:
        monkeypatch.delenv(name)
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)


def test_it_needs_no_servers() -> None:
    found = RelaySettings.load()
    assert (found.ingest_address, found.in_flight) == ("127.0.0.1:3030", 64)


@pytest.mark.parametrize("address", ["host", "host:0", "host:99999", "http://host:1", "a b:1", ""])
def test_a_wrong_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("CROWN_INGEST_ADDRESS", address)
    with pytest.raises(SettingsError, match=r"CROWN_INGEST_ADDRESS: (must be host:port|is required)"):
        RelaySettings.load()


@pytest.mark.parametrize("address", ["ingest:50051", "dns:///ingest.crown:50051", "[::1]:50051"])
def test_a_good_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("CROWN_INGEST_ADDRESS", address)
    assert RelaySettings.load().ingest_address == address


def test_a_token_with_a_space_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_RELAY_TOKEN", "hush hush")
    with pytest.raises(SettingsError, match="CROWN_RELAY_TOKEN: must be printable") as caught:
        RelaySettings.load()
    assert "hush" not in str(caught.value)


def test_a_token_from_a_file_is_found_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("other\n")
    monkeypatch.setenv("CROWN_RELAY_TOKEN_FILE", str(tmp_path / "token"))
    assert file_of("CROWN_RELAY_TOKEN") is None
    assert RelaySettings.load().token.get_secret_value() == "hush"
    monkeypatch.setenv("CROWN_RELAY_TOKEN", "")
    assert file_of("CROWN_RELAY_TOKEN") == tmp_path / "token"
    assert RelaySettings.load().token.get_secret_value() == "other"
    monkeypatch.delenv("CROWN_RELAY_TOKEN_FILE")
    assert file_of("CROWN_RELAY_TOKEN") is None
