"""What newer code has left on the bus, and older code finds there: it is parked, and neither dropped nor given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import structlog

from crown import metrics, newer, subjects
from crown.bus import Outgoing
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
