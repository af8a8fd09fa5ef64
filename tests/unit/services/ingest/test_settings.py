"""What ingest is told over what every service is told."""

from __future__ import annotations

import pytest

from crown.notification.v1.types_pb2 import Priority
from crown.settings import SettingsError
from services.ingest.filter_settings import OwnFilterSettings
from services.ingest.intake.rate import Rate
from services.ingest.settings import IngestSettings

pytestmark = pytest.mark.usefixtures("environment")


def test_by_itself_it_works_on_every_lane() -> None:
    found = IngestSettings.load()
    assert found.lanes == ["critical", "normal", "bulk"]
    assert found.allowed_hosts == ("crown.example",)
    assert (found.peer_addresses, found.sweep_period_s) == ({}, 10.0)
    assert found.rates == {}
    assert found.shares == {Priority.CRITICAL: Rate(100, 1_000), Priority.NORMAL: Rate(500, 5_000)}


def test_each_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_DISPATCH_LANES", "bulk,normal")
    monkeypatch.setenv("CROWN_LINK_HOSTS", "A.example, b.example,")
    monkeypatch.setenv("CROWN_PEERS", "email=127.0.0.1:3034,push=push:50051")
    monkeypatch.setenv("CROWN_SWEEP_PERIOD_S", "0.5")
    found = IngestSettings.load()
    assert found.lanes == ["bulk", "normal"]
    assert found.allowed_hosts == ("crown.example", "a.example", "b.example")
    assert found.peer_addresses == {"email": "127.0.0.1:3034", "push": "push:50051"}
    assert found.sweep_period_s == 0.5


def test_rates_of_callers_and_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_CALLER_RATES", "*=2000/s:10000,feed=0.5/s:1")
    monkeypatch.setenv("CROWN_NORMAL_RATE", "off")
    monkeypatch.setenv("CROWN_CRITICAL_RATE", "1/s:2")
    found = IngestSettings.load()
    assert found.rates == {"*": Rate(2_000, 10_000), "feed": Rate(0.5, 1)}
    assert found.shares == {Priority.CRITICAL: Rate(1, 2)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROWN_DISPATCH_LANES", "fast"),
        ("CROWN_DISPATCH_LANES", "normal,"),
        ("CROWN_PEERS", "email"),
        ("CROWN_PEERS", "=127.0.0.1:1"),
        ("CROWN_PEERS", "email=127.0.0.1"),
        ("CROWN_CALLER_RATES", "feed"),
        ("CROWN_CALLER_RATES", "feed=5"),
        ("CROWN_NORMAL_RATE", "5"),
        ("CROWN_CRITICAL_RATE", "0/s:1"),
        ("CROWN_SWEEP_PERIOD_S", "0"),
        ("CROWN_SWEEP_PERIOD_S", "nan"),
        ("CROWN_SCHEDULE_GRACE_S", "0"),
        ("CROWN_FILTER_ADDRESS", "filter"),
        ("CROWN_FILTER_ADDRESS", "http://filter:50051"),
        ("CROWN_FILTER_TOKEN", "two words"),
        ("CROWN_FILTER_TIMEOUT_MS", "0"),
        ("CROWN_FILTER_TIMEOUT_MS", "5001"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        IngestSettings.load()
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: ")


def test_the_filter_is_told_neither_of_the_bus_nor_of_the_stores() -> None:
    assert not {"nats_url", "database_url", "redis_host", "data_key"} & set(OwnFilterSettings.model_fields)


@pytest.mark.parametrize(("name", "value"), [("CROWN_FILTER_PER_HOUR", "0"), ("CROWN_FILTER_PER_DAY", "101")])
def test_a_wrong_rule_of_the_filter_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        OwnFilterSettings.load()
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: ")
