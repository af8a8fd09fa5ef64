"""The bus on a real NATS: streams as they have to be, publishing, batches, refusals, and coming back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from nats.aio.client import DEFAULT_MAX_RECONNECT_ATTEMPTS

from crown import subjects
from crown.bus import Bus, BusError, Outgoing, connection
from crown.errors import BusUnavailable, IntakeFull, OutcomeUnknown
from crown.pull import Pull
from tests.integration import cluster
from tests.integration.local import Local
from tests.integration.rig import Rig, until

INTAKE = subjects.intake("normal")
# So often the client of NATS tries to reconnect where nobody says how often.
ATTEMPTS_BY_ITSELF = DEFAULT_MAX_RECONNECT_ATTEMPTS


def many(count: int, subject: str = INTAKE, size: int = 100) -> list[Outgoing]:
    return [Outgoing(subject, f"{n}".encode().ljust(size)) for n in range(count)]


@pytest.fixture
async def bus(rig: Rig) -> AsyncIterator[Bus]:
    """A connection of its own."""
    found = await Bus.connect(rig.settings(), "another")
    yield found
    await found.close()


async def test_a_second_connection_finds_the_streams_as_they_are(local: Local, rig: Rig) -> None:
    with structlog.testing.capture_logs() as logged:
        second = await Bus.connect(rig.settings(), "second")
    assert [line for line in logged if line["event"] == "stream_changed"] == []
    for wanted in subjects.streams(rig.settings().stream_max_bytes):
        found = (await second.api(f"STREAM.INFO.{wanted['name']}"))["config"]
        assert {name: found.get(name) for name in wanted} == wanted
        assert (found["storage"], found["retention"]) == ("file", "limits")
    await second.close()


async def test_a_stream_that_was_changed_is_put_right(local: Local, rig: Rig) -> None:
    name = subjects.intake_stream("bulk")
    config = (await local.bus.api(f"STREAM.INFO.{name}"))["config"]
    await local.bus.api(f"STREAM.UPDATE.{name}", {**config, "discard": "old", "max_bytes": 1 << 20})
    with structlog.testing.capture_logs() as logged:
        second = await Bus.connect(rig.settings(), "second")
    (line,) = [line for line in logged if line["event"] == "stream_changed"]
    assert (line["stream"], line["settings"]) == (name, ["discard", "max_bytes"])
    found = (await second.api(f"STREAM.INFO.{name}"))["config"]
    assert (found["discard"], found["max_bytes"]) == ("new", rig.settings().stream_max_bytes)
    await second.close()


async def test_what_is_confirmed_is_stored(local: Local) -> None:
    before = await local.messages("INTAKE_normal")
    ack = await local.bus.publish(Outgoing(INTAKE, b"x"))
    assert (ack.stream, ack.duplicate) == ("INTAKE_normal", False)
    await local.bus.publish_batch(many(2))
    await local.bus.publish_batch(many(1_000))
    await local.bus.publish_many(many(2_500))
    await local.bus.publish_all(many(50, subjects.live_source("user:u")))
    assert await local.messages("INTAKE_normal") == before + 1 + 2 + 1_000 + 2_500
    assert await local.messages("REALTIME") == 50


async def test_of_thousands_at_once_each_is_stored_in_its_order(local: Local) -> None:
    """Though the bus is asked for its word about a few of them only."""
    sources = [subjects.live_source(f"user:thousands-{number % 40}") for number in range(2_501)]
    messages = [Outgoing(source, str(number).encode()) for number, source in enumerate(sources)]
    await asyncio.gather(local.bus.publish_all(messages[:1_200]), local.bus.publish_all(messages[1_200:]))
    found = [await local.stored("REALTIME", source) for source in sorted(set(sources))]
    assert sorted(int(one) for own in found for one in own) == list(range(2_501))
    assert all(own[:30] == sorted(own[:30], key=int) for own in found)


async def test_thousands_at_once_that_no_stream_takes_are_an_error(local: Local) -> None:
    with pytest.raises(BusUnavailable):
        await local.bus.publish_all(many(1_500, "nobody.takes.this"))


async def test_a_batch_is_stored_whole_or_not_at_all(local: Local) -> None:
    before = await local.messages("INTAKE_normal")
    with pytest.raises(BusError):
        await local.bus.publish_batch(many(1_001))
    elsewhere = [*many(2), Outgoing(subjects.intake("bulk"), b"x")]
    with pytest.raises((BusError, OutcomeUnknown)):
        await local.bus.publish_batch(elsewhere, timeout_s=1)
    assert await local.messages("INTAKE_normal") == before


async def test_a_subject_without_a_stream_is_refused(local: Local) -> None:
    with pytest.raises(BusUnavailable, match="no stream"):
        await local.bus.publish(Outgoing("crown.nowhere", b"x"))


async def test_a_full_stream_refuses_and_drops_nothing(local: Local) -> None:
    name = subjects.intake_stream("critical")
    config = (await local.bus.api(f"STREAM.INFO.{name}"))["config"]
    await local.bus.api(f"STREAM.UPDATE.{name}", {**config, "max_bytes": 1 << 16})
    subject = subjects.intake("critical")

    async def fill() -> int:
        for stored in range(100):
            try:
                await local.bus.publish(Outgoing(subject, b"x" * 1_000))
            except IntakeFull:
                return stored
        return 0

    stored = await fill()
    with pytest.raises(IntakeFull):
        await local.bus.publish_batch(many(10, subject, 1_000))
    assert await local.messages(name) == stored > 10
    await local.bus.api(f"STREAM.PURGE.{name}")
    await local.bus.publish(Outgoing(subject, b"x"))
    await local.bus.ensure()


async def test_what_is_told_is_heard_by_who_listens_and_kept_nowhere(local: Local, bus: Bus) -> None:
    subject = subjects.live("user:told")
    listening = await bus.client.subscribe(subject)
    await bus.client.flush()
    before = await local.messages("REALTIME")
    await local.bus.tell(Outgoing(subject, f"{n}".encode()) for n in range(1_000))
    await local.bus.tell([Outgoing(subject, b"last", {"Origin": "here"})])
    await local.bus.tell([])
    # At once: what waits for the next ping to take it along would be late by seconds.
    heard = [await listening.next_msg(timeout=1) for _ in range(1_001)]
    assert [message.data for message in heard] == [*(f"{n}".encode() for n in range(1_000)), b"last"]
    assert (heard[0].headers, heard[-1].headers) == (None, {"Origin": "here"})
    assert await local.messages("REALTIME") == before


async def test_a_server_that_hangs_is_no_refusal(local: Local, rig: Rig, bus: Bus) -> None:
    async with rig.suspended("nats"):
        with pytest.raises(OutcomeUnknown):
            await bus.publish(Outgoing(subjects.intake("bulk"), b"while it hung"), timeout_s=0.5)
    found = await until(lambda: local.stored("INTAKE_bulk", subjects.intake("bulk")))
    assert found == [b"while it hung"]


async def test_away_is_told_at_once_and_ends_by_itself(rig: Rig, bus: Bus) -> None:
    pull = Pull(bus, subjects.dispatcher("bulk"), asyncio.Event())
    await pull.start()
    killing = asyncio.create_task(rig.killed("nats"))
    await until(lambda: _is(not bus.connected))
    began = time.monotonic()
    with pytest.raises(BusUnavailable):
        await bus.publish(Outgoing(subjects.intake("bulk"), b"x"))
    with pytest.raises(BusUnavailable):
        await bus.publish_batch(many(10, subjects.intake("bulk")))
    with pytest.raises(BusUnavailable):
        await bus.tell([Outgoing(subjects.live("user:u"), b"x")])
    assert time.monotonic() - began < 0.5
    await killing
    await until(lambda: _is(bus.connected))
    before = len(pull)
    await bus.publish(Outgoing(subjects.intake("bulk"), b"after"))
    await until(lambda: _is(len(pull) > before))
    await pull.stop()


async def _is(found: bool) -> bool:
    return found


async def test_streams_that_are_gone_are_made_again_when_nats_comes_back(rig: Rig, bus: Bus) -> None:
    """As after a restart on an empty disk: nobody has to restart the services, too."""
    await bus.api("STREAM.DELETE.INTAKE_bulk")
    await rig.killed("nats")
    await until(lambda: taken(bus, Outgoing(subjects.intake("bulk"), b"x")))


async def test_a_stream_stays_on_the_servers_that_it_was_made_on(local: Local, rig: Rig) -> None:
    """To put what it holds onto others is not done by the way; this one server could not even be asked."""
    bus = await Bus.connect(rig.settings(CROWN_STREAM_REPLICAS="3"), "another")
    for stream in subjects.streams(1):
        assert (await bus.api(f"STREAM.INFO.{stream['name']}"))["config"]["num_replicas"] == 1
    await bus.close()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"NATS_URL": "nats://127.0.0.1:9"}, "ConnectionRefusedError"),
        ({"NATS_PASSWORD": "wrong"}, "Authorization Violation"),
    ],
    ids=["nobody there", "wrong password"],
)
async def test_a_first_connection_is_not_tried_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], why: str
) -> None:
    monkeypatch.setattr(connection, "_CONNECT_TIMEOUT_S", 0.3)
    with pytest.raises(BusUnavailable, match=f"cannot connect to NATS, .*{why}"):
        await Bus.connect(rig.settings(**given), "nobody")


async def test_a_link_that_is_dead_is_noticed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs keeps its connections open: only pings tell."""
    monkeypatch.setattr(connection, "_PING_INTERVAL_S", 0.2)
    bus = await Bus.connect(rig.settings(), "listening")
    assert await bus.healthy()
    async with rig.suspended("nats"):
        await until(bus.healthy, lambda healthy: not healthy)
    await until(bus.healthy)
    await bus.close()


async def test_a_server_that_is_away_for_long_is_found_again(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than the client of NATS tries by itself, which is sixty times."""
    monkeypatch.setattr(connection, "_RECONNECT_PAUSE_S", 0.005)
    message = Outgoing(subjects.intake("bulk"), b"x")
    async with cluster.opened(tmp_path, 1) as servers, cluster.connected(servers.settings(rig)) as bus:
        with structlog.testing.capture_logs() as logged:
            await servers.kill(0)

            async def attempts() -> int:
                return sum(line["event"] == "bus_error" for line in logged)

            await until(attempts, lambda count: count > 2 * ATTEMPTS_BY_ITSELF, 60)
        assert not bus.closed.is_set()
        await servers.start(0)
        await until(bus.healthy)
        await until(lambda: taken(bus, message))


async def taken(bus: Bus, message: Outgoing) -> bool:
    """Whether a stream has taken it, which it does some moments after its server begins."""
    try:
        await bus.publish(message)
    except (BusUnavailable, OutcomeUnknown):
        return False
    return True
