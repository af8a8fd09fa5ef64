"""What becomes of a row whose time has come: what is due, and one update for all that are alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given as drawn
from hypothesis import strategies as st

from crown.notification.v1.types_pb2 import Channel, DeliveryState
from crown.store import Document
from services.ingest.clock import releases
from services.ingest.clock.releases import Release
from services.ingest.decide import Decision

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
DEFERRED, PENDING, DELIVERED = DeliveryState.DEFERRED, DeliveryState.PENDING, DeliveryState.DELIVERED
CHANNELS = {"in_app": Channel.IN_APP, "push": Channel.PUSH, "email": Channel.EMAIL}


def row(number: int = 0, **deliveries: dict[str, Any]) -> Document:
    made = {
        channel: {
            "id": f"{number}-{channel}",
            "state": DEFERRED,
            "reason": "LOCAL_TIME",
            "due_time": NOW,
            **fields,
        }
        for channel, fields in deliveries.items()
    }
    return {
        "_id": f"n/{number}",
        "notification_id": "n",
        "user_id": str(number),
        "deliveries": made,
        "wake_time": releases.wake_time(made),
    }


def sent(found: Document, *channels: str, due_time: datetime | None = None) -> Release:
    state = DEFERRED if due_time else PENDING
    decisions = {
        channel: Decision(CHANNELS[channel], DELIVERED if channel == "in_app" else state, "", due_time)
        for channel in channels
    }
    return Release(found, decisions, NOW)


def parts(release: Release) -> tuple[Document, Document]:
    (made,) = releases.updates([release], "mark")
    return dict(made._filter), dict(made._doc)  # type: ignore[arg-type]


def test_only_what_is_deferred_and_due_is_due() -> None:
    found = row(in_app={}, push={"due_time": LATER}, email={"digest": "d"}, sms={"state": PENDING})
    assert releases.due(found, NOW) == ["in_app"]
    assert releases.due(found, LATER) == ["in_app", "push"]


def test_what_was_not_to_be_seen_is_seen_from_now_on() -> None:
    where, change = parts(sent(row(in_app={}, push={}), "in_app", "push"))
    assert where == {
        "_id": {"$in": ["n/0"]},
        "wake_time": NOW,
        "read_time": None,
        "deliveries.in_app.state": DEFERRED,
        "deliveries.push.state": DEFERRED,
    }
    assert change["$unset"] == {"hidden": "", "wake_time": ""}
    assert change["$addToSet"] == {"open": {"$each": ["push"]}}
    fields = change["$set"]
    assert (fields["unread"], fields["unseen"], fields["create_time"]) == (True, True, NOW)
    assert (fields["deliveries.push.reopen_time"], fields["released"]) == (NOW, "mark")


def test_what_the_app_does_not_show_stays_as_it_is_there() -> None:
    _, change = parts(sent(row(push={}, email={"due_time": LATER}), "push"))
    assert "$unset" not in change
    assert change["$set"]["wake_time"] == LATER
    assert not {"unread", "unseen", "create_time"} & change["$set"].keys()


def test_what_is_put_off_again_is_not_open() -> None:
    _, change = parts(sent(row(push={}), "push", due_time=LATER))
    assert change["$set"]["wake_time"] == LATER
    assert change["$set"]["deliveries.push.due_time"] == LATER
    assert "$addToSet" not in change


def test_rows_with_the_same_change_are_one_update() -> None:
    alike = [sent(row(number, push={}), "push") for number in range(5)]
    read = sent({**row(6, push={}), "read_time": NOW}, "push")
    other = sent(row(7, push={}, email={"due_time": LATER}), "push")
    made = releases.updates([*alike, read, other], "mark")
    assert [len(one._filter["_id"]["$in"]) for one in made] == [5, 1, 1]


@drawn(st.lists(st.sampled_from(sorted(CHANNELS)), unique=True, min_size=1), st.booleans())
def test_the_wake_time_is_that_of_what_is_left(due: list[str], again: bool) -> None:
    given: dict[str, dict[str, Any]] = {one: {} if one in due else {"due_time": LATER} for one in CHANNELS}
    found = row(0, **given)
    release = sent(found, *due, due_time=LATER if again else None)
    _, change = parts(release)
    after = releases.wake_time(releases.deliveries(release))
    assert change["$set"].get("wake_time") == after
    assert ("wake_time" in change.get("$unset", {})) == (after is None)


def test_there_is_news_of_what_was_released_alone() -> None:
    told = releases.announced(sent(row(in_app={}, push={"state": DELIVERED}, email={}), "in_app", "email"))
    assert set(told["deliveries"]) == {"in_app", "email"}
    assert (told["create_time"], told["decide_time"]) == (NOW, NOW)
    assert told["deliveries"]["email"]["decided"] == PENDING


def test_the_same_release_is_the_same_entry() -> None:
    found = row(push={})
    (first,) = releases.entries(sent(found, "push"))
    (again,) = releases.entries(sent(found, "push", due_time=LATER))
    assert first["_id"] == again["_id"]
    assert again["due_time"] == LATER
