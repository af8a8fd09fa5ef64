"""The recorder: outcomes from the bus into the timeline, each once, whatever comes along with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from crown import subjects
from crown.bus import Outgoing
from crown.notification.v1.events_pb2 import OutcomeEvent
from crown.notification.v1.types_pb2 import Channel, DeliveryState
from services.ingest.books import recorder as record
from services.ingest.books.recorder import Recorder
from tests.integration.local import Local
from tests.integration.rig import Rig, until

AT = Timestamp(seconds=1_800_000_000, nanos=123_000_000)


def outcome(delivery_id: str, attempt: int = 1, **given: Any) -> bytes:
    fields: dict[str, Any] = {
        "notification_id": "n1",
        "user_id": "u1",
        "channel": Channel.SMS,
        "state": DeliveryState.RETRYING,
        "occur_time": AT,
    }
    return OutcomeEvent(delivery_id=delivery_id, attempt=attempt, **{**fields, **given}).SerializeToString()


async def tell(local: Local, *events: bytes) -> None:
    for event in events:
        await local.bus.publish(Outgoing(subjects.event("sms"), event))


async def recorded(local: Local) -> None:
    await until(lambda: local.backlog(subjects.recorder()), lambda left: left == 0)


async def entries(local: Local, delivery_id: str) -> list[dict[str, Any]]:
    return [row async for row in local.db.timeline.find({"delivery_id": delivery_id}).sort("_id", 1)]


async def test_the_same_outcome_twice_is_one(local: Local) -> None:
    first = outcome("d1", reason="E1", provider="twilio", provider_message_id="m1")
    later = outcome("d1", 2, state=DeliveryState.DELIVERED_TO_PROVIDER)
    async with local.working(Recorder(local.bus, local.store).run):
        await tell(local, first, first, later, first)
        await recorded(local)
    found = await entries(local, "d1")
    assert [(row["attempt"], row["state"]) for row in found] == [
        (1, DeliveryState.RETRYING),
        (2, DeliveryState.DELIVERED_TO_PROVIDER),
    ]
    assert found[0]["time"] == datetime.fromtimestamp(1_800_000_000.123, UTC)
    assert (found[0]["notification_id"], found[0]["user_id"], found[0]["channel"]) == (
        "n1",
        "u1",
        Channel.SMS,
    )
    assert (found[0]["reason"], found[0]["provider"], found[0]["provider_message_id"]) == (
        "E1",
        "twilio",
        "m1",
    )


@pytest.mark.parametrize(
    "junk",
    [b"\xff\xfe", b"", b"text", outcome("d-junk", occur_time=Timestamp(seconds=10**15))],
    ids=["random bytes", "nothing", "text", "a time that there is not"],
)
async def test_what_nobody_can_read_stops_nothing(local: Local, junk: bytes) -> None:
    before = await local.db.timeline.count_documents({})
    async with local.working(Recorder(local.bus, local.store).run):
        await tell(local, junk, outcome(f"d-good-{junk.hex()[:8]}"), junk)
        await recorded(local)
    assert await local.db.timeline.count_documents({}) == before + 1


async def test_it_waits_for_a_store_that_is_away(
    rig: Rig, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_PAUSE_S", 0.2)
    async with local.working(Recorder(local.bus, local.store).run):
        await tell(local, outcome("before"))
        await recorded(local)
        await rig.killed("mongod")
        await tell(local, *(outcome(f"after-{n}") for n in range(20)))
        await recorded(local)
    assert await local.db.timeline.count_documents({"delivery_id": {"$regex": "^after-"}}) == 20
