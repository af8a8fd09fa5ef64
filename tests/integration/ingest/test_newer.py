"""What newer code has left on the bus, and older code finds there: it is parked, and neither dropped nor given up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import structlog

from crown import metrics, newer, subjects
from crown.bus import Outgoing, PubAck
from crown.notification.v1.events_pb2 import (
    CallbackEvent,
    DeadLetter,
    DeliveryEvent,
    IntakeEvent,
    OutcomeEvent,
)
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from services.ingest.books.recorder import Recorder
from services.ingest.dead.undertaker import Undertaker
from tests.integration.local import Local
from tests.integration.rig import until

TOMORROW = newer.VERSION + 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is parked comes again soon."""
    monkeypatch.setattr(newer, "MOST_S", 0.3)


def parked(reader: str, why: str) -> float:
    """How often a reader has parked something."""
    return float(metrics.PARKED.labels(reader, why)._value.get())


async def parks(reader: str, why: str, before: float) -> None:
    """Waits until the same has been parked again and again."""

    async def count() -> float:
        return parked(reader, why)

    await until(count, lambda found: found >= before + 3)


def _needs(event: IntakeEvent) -> None:
    event.needs_version = TOMORROW


INTAKE: dict[str, Callable[[IntakeEvent], None]] = {
    "version": _needs,
    "channel": lambda event: event.channels.append(77),  # type: ignore[arg-type]
    "lane": lambda event: setattr(event, "priority", 77),
    "category": lambda event: setattr(event, "category", 77),
}


@pytest.mark.parametrize("why", INTAKE)
async def test_dispatch_parks_what_it_does_not_understand(
    local: Local, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    accepted = local.accepted(type="PUSH")
    event = IntakeEvent.FromString(accepted.parts[0])
    INTAKE[why](event)
    before, letters = parked("dispatch", why), len(await local.letters("dispatch"))
    async with local.dispatching():
        with structlog.testing.capture_logs() as logs:
            await local.bus.publish(Outgoing(subjects.intake("normal"), event.SerializeToString()))
            await parks("dispatch", why, before)
            # What others want goes on meanwhile.
            sent = await local.send(type="PUSH")
            await until(lambda: local.rows(sent))
        assert {"message_parked"} <= {line["event"] for line in logs if line.get("why") == why}
        assert not await local.rows(accepted.notification_id)
        assert len(await local.letters("dispatch")) == letters
        if why == "version":
            # The newer code comes.
            monkeypatch.setattr(newer, "VERSION", TOMORROW)
            await until(lambda: local.rows(accepted.notification_id))


async def test_dispatch_takes_for_newer_only_what_is_sealed_with_our_key(local: Local) -> None:
    event = IntakeEvent.FromString(local.accepted(type="PUSH").parts[0])
    event.needs_version, event.content.wrapped_key = TOMORROW, b"x" * len(event.content.wrapped_key)
    async with local.dispatching():
        ack = await local.bus.publish(Outgoing(subjects.intake("normal"), event.SerializeToString()))
        await until(partial(letter_of, local, ack), bool)


async def letter_of(local: Local, ack: PubAck) -> str:
    """Why dispatch gave up a message; empty where it has not."""
    found = [
        one for one in await local.letters("dispatch") if (one.stream, one.sequence) == (ack.stream, ack.seq)
    ]
    assert len(found) <= 1
    return f"{found[0].reason}: {found[0].error}" if found else ""


# -- what nobody comes for


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is parked waits for newer code for a moment only."""
    monkeypatch.setattr(newer, "DELIVERIES_MOST", 2)
    monkeypatch.setattr(newer, "FIRST_S", 0.1)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("why", INTAKE)
async def test_dispatch_gives_up_what_nobody_comes_for(local: Local, why: str) -> None:
    event = IntakeEvent.FromString(local.accepted(type="PUSH").parts[0])
    INTAKE[why](event)
    before = parked("dispatch", why)
    async with local.dispatching():
        ack = await local.bus.publish(Outgoing(subjects.intake("normal"), event.SerializeToString()))
        assert await until(partial(letter_of, local, ack), bool) == f"UNDECODABLE: {why}"
        await local.dispatched()
    assert parked("dispatch", why) == before + 2


@pytest.mark.usefixtures("short")
async def test_the_recorder_gives_up_what_nobody_comes_for(local: Local) -> None:
    event = OutcomeEvent(delivery_id="d-given-up", needs_version=TOMORROW)
    with structlog.testing.capture_logs() as logs:
        async with local.working(Recorder(local.bus, local.store).run):
            ack = await local.bus.publish(Outgoing(subjects.event("sms"), event.SerializeToString()))

            async def noted() -> list[int]:
                return [line["sequence"] for line in logs if line["event"] == "event_undecodable"]

            assert await until(noted, bool) == [ack.seq]
            await until(lambda: local.backlog(subjects.recorder()), lambda left: left == 0)
    await local.bus.api(f"CONSUMER.DELETE.EVENT.{subjects.recorder().name}")
    await local.bus.api("STREAM.PURGE.EVENT")


@pytest.mark.usefixtures("short")
async def test_the_undertaker_keeps_the_bytes_of_what_nobody_comes_for(local: Local) -> None:
    delivery = DeliveryEvent(delivery_id="d10", notification_id="n10", user_id="u10", channel=Channel.SMS)
    letter = DeadLetter(reason="TOMORROWS", delivery=delivery, claims=1, needs_version=TOMORROW)
    letter.create_time.GetCurrentTime()
    async with local.working(Undertaker(local.bus, local.store).run):
        ack = await local.bus.publish(Outgoing(subjects.dead("sms"), letter.SerializeToString()))
        found = await until(lambda: local.db.dead_letters.find_one({"_id": f"DEAD:{ack.seq}"}))
        await until(lambda: local.backlog(subjects.undertaker()), lambda left: left == 0)
    assert found is not None
    assert (found["reason"], found["body"]) == ("UNDECODABLE", letter.SerializeToString())


@pytest.mark.parametrize("why", ["version", "state", "channel"])
async def test_the_recorder_parks_outcomes(local: Local, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    event = OutcomeEvent(
        delivery_id=f"d-{why}", notification_id="n1", user_id="u1", channel=Channel.SMS,
        state=DeliveryState.DELIVERED_TO_PROVIDER, attempt=1,
    )  # fmt: skip
    event.occur_time.GetCurrentTime()
    if why == "version":
        event.needs_version = TOMORROW
    else:
        setattr(event, why, 77)
    before = parked("record", why)
    async with local.working(Recorder(local.bus, local.store).run):
        await local.bus.publish(Outgoing(subjects.event("sms"), event.SerializeToString()))
        await parks("record", why, before)
        assert not await local.db.timeline.find_one({"delivery_id": event.delivery_id})
        if why == "version":
            monkeypatch.setattr(newer, "VERSION", TOMORROW)
            await until(lambda: local.db.timeline.find_one({"delivery_id": event.delivery_id}))
    await local.bus.api(f"CONSUMER.DELETE.EVENT.{subjects.recorder().name}")
    await local.bus.api("STREAM.PURGE.EVENT")


async def test_the_recorder_parks_callbacks(local: Local) -> None:
    event = CallbackEvent(callback_id="c1", delivery_id="d1", channel=Channel.SMS, type=77)  # type: ignore[arg-type]
    before = parked("record", "callback")
    async with local.working(Recorder(local.bus, local.store).run):
        await local.bus.publish(Outgoing(subjects.callback("sms"), event.SerializeToString()))
        await parks("record", "callback", before)
    await local.bus.api(f"CONSUMER.DELETE.EVENT.{subjects.recorder().name}")
    await local.bus.api("STREAM.PURGE.EVENT")


async def test_the_undertaker_parks_letters(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = DeliveryEvent(delivery_id="d9", notification_id="n9", user_id="u9", channel=Channel.SMS)
    letter = DeadLetter(reason="TOMORROWS", delivery=delivery, claims=1, needs_version=TOMORROW)
    letter.create_time.GetCurrentTime()
    before = parked("undertaker", "version")
    async with local.working(Undertaker(local.bus, local.store).run):
        await local.bus.publish(Outgoing(subjects.dead("sms"), letter.SerializeToString()))
        await parks("undertaker", "version", before)
        assert not await local.db.dead_letters.find_one({"delivery_id": "d9"})
        monkeypatch.setattr(newer, "VERSION", TOMORROW)
        found = await until(lambda: local.db.dead_letters.find_one({"delivery_id": "d9"}))
    assert found is not None
    assert found["reason"] == "TOMORROWS"
