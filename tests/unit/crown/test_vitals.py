"""What a process tells of itself: what it has, under the names of /metrics, and no more often than it is good for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from prometheus_client import REGISTRY

from crown import metrics, subjects, vitals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg


class FakeClient:
    """Keeps what is published; `ask` is what arrives."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.ask: Callable[[Msg | None], Awaitable[None]] | None = None

    async def subscribe(self, subject: str, cb: Any) -> None:
        """Of the question."""
        assert subject == subjects.VITALS_ASKED
        self.ask = cb

    async def publish(self, subject: str, body: bytes) -> None:
        """Of the answer."""
        assert subject == subjects.VITALS_TOLD
        self.told.append(body)


def samples(name: str, **labels: str) -> list[float]:
    """Of this process now."""
    found = vitals.snapshot("tests").samples.get(name, [])
    return [value for given, value in found if labels.items() <= given.items()]


def test_every_name_is_that_of_a_metric() -> None:
    names = {name for family in REGISTRY.collect() for name in _names(family)}
    assert names >= vitals.TOLD


def _names(family: Any) -> set[str]:
    # A family whose labels were never used has no samples.
    parts = {"counter": ("_total",), "histogram": ("_bucket",)}.get(family.type, ("",))
    return {family.name + part for part in parts}


def test_a_counter_is_told_once_it_has_counted() -> None:
    name, lane = "crown_accepted_total", "a lane of this test"
    metrics.ACCEPTED.labels(lane)
    assert samples(name, lane=lane) == []
    metrics.ACCEPTED.labels(lane).inc(3)
    assert samples(name, lane=lane) == [3]


def test_a_level_is_told_at_zero_too() -> None:
    metrics.PROVIDER_STATE.labels("push", "a provider of this test").set(0)
    assert samples("crown_provider_state", provider="a provider of this test") == [0]


def test_what_is_not_in_the_table_is_not_told() -> None:
    metrics.SWEPT.labels("push").inc()
    assert vitals.snapshot("tests").samples.keys() <= vitals.TOLD


def test_it_is_read_as_it_was_told() -> None:
    told = vitals.snapshot("tests")
    assert vitals.read(msgspec.json.encode(told)) == told


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"process": 1}', b"\xff"])
def test_what_is_no_snapshot(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        vitals.read(body)


async def test_many_who_ask_at_once_get_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    present = 100.0
    monkeypatch.setattr("crown.vitals.time.monotonic", lambda: present)
    client = FakeClient()
    await vitals.answer(cast("Client", client), "tests")
    assert client.ask is not None
    for _ in range(3):
        await client.ask(None)
    assert len(client.told) == 1
    present = 101.0
    await client.ask(None)
    assert [vitals.read(body).process for body in client.told] == ["tests", "tests"]
