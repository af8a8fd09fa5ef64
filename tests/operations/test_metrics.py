"""What every process of the suite serves at /metrics stands in the table, with those labels, and the other way
round: each process tells of itself what all of them do."""

from __future__ import annotations

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from crown import __version__, metrics
from crown.series import Series
from stack.control import Stack
from stack.services import ROLES
from tests.e2e.people import People, data
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

TABLE = {series.name: series for series in metrics.TABLE.entries}
SAMPLES = metrics.TABLE.samples()
CONSUMERS = {"dispatch", "email", "push", "sms", "webhook", "record", "undertaker"}
OF_ALL = {
    "crown_build_info",
    "crown_loop_lag_seconds",
    "crown_ready",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}


async def served(rest: Rest, stack: Stack, name: str) -> list[Metric]:
    async with rest.http.get(f"http://127.0.0.1:{stack.settings.ports.metrics(name)}/metrics") as answer:
        assert answer.status == 200
        return list(text_string_to_metric_families(await answer.text()))


def entry(family: Metric) -> Series:
    """The entry of the table; the parser takes _total off a counter's name."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    assert name in TABLE, f"{name} is not in the table of crown/metrics.py"
    return TABLE[name]


@pytest.mark.parametrize("name", [role.name for role in ROLES])
async def test_what_is_served_stands_in_the_table(
    rest: Rest, stack: Stack, feed: Caller, people: People, name: str
) -> None:
    person = await people.new()
    sent = await feed.send(channels=["email", "in_app"], user_id=person.user_id, data=data())
    await feed.settled(sent)
    for family in await served(rest, stack, name):
        series = entry(family)
        assert family.type == series.kind
        assert family.documentation == series.help or not series.name.startswith("crown_")
        for sample in family.samples:
            assert SAMPLES[sample.name] is series
            assert sample.labels.keys() - {"le"} == {label.name for label in series.labels}
            for label in series.labels:
                assert not label.values or sample.labels[label.name] in label.values, (sample, label)


@pytest.mark.parametrize("name", [role.name for role in ROLES])
async def test_every_process_tells_how_it_is(rest: Rest, stack: Stack, name: str) -> None:
    found = {entry(family).name: family for family in await served(rest, stack, name)}
    assert found.keys() >= OF_ALL
    assert [sample.labels["version"] for sample in found["crown_build_info"].samples] == [__version__]
    assert [sample.value for sample in found["crown_ready"].samples] == [1]
    count = [s.value for s in found["crown_loop_lag_seconds"].samples if s.name.endswith("_count")]
    assert count[0] > 0


async def test_the_books_tell_of_streams_and_consumers(rest: Rest, stack: Stack) -> None:
    async def read() -> dict[str, Metric]:
        return {family.name: family for family in await served(rest, stack, "ingest-record")}

    def consumers(found: dict[str, Metric]) -> set[str]:
        return {s.labels["consumer"] for s in found["crown_consumer_pending"].samples}

    found = await until(read, lambda found: consumers(found) >= CONSUMERS, 30)
    streams = {s.labels["stream"]: s.value for s in found["crown_stream_max_bytes"].samples}
    assert streams.keys() >= {"INTAKE_normal", "DELIVERY_normal", "EVENT", "DEAD"}
    assert streams["INTAKE_normal"] > 0
