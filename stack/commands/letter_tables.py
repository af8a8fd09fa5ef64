"""Dead letters as `crown dlq` prints them: for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from crown.notification.v1 import dead_letter_service_pb2 as pb
from crown.notification.v1.types_pb2 import Category, Channel, DeadLetterState, DeliveryState, TimelineEvent

# Of a body that nobody could read; --json has all of it.
_BODY_SHOWN_BYTES = 256


def print_json(found: Message) -> None:
    """As the REST surface says it."""
    shown = MessageToDict(found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    print(json.dumps(shown, indent=2, ensure_ascii=False))


def table(letters: Iterable[pb.DeadLetterEntry]) -> Table:
    """Letters, a line each. Everything in them is plain text: providers' words are nobody's markup."""
    made = _table("id", "given up", "channel", "reason", "error", "kind", "user", "attempts", "state")
    for one in letters:
        made.add_row(
            one.dead_letter_id,
            _time(one.create_time),
            word(Channel, one.channel),
            one.reason,
            Text(one.error),
            Text(one.kind),
            Text(one.user_id),
            str(one.attempts),
            word(DeadLetterState, one.state),
        )
    return made


def facts(found: pb.GetDeadLetterResponse) -> Iterable[tuple[str, str]]:
    """What is known of one, by name; what is not known is left out."""
    one = found.dead_letter
    done = f"{word(DeadLetterState, one.state)}"
    if one.update_by:
        done += f" by {one.update_by} at {_time(one.update_time)}"
    told = {
        "id": one.dead_letter_id,
        "state": done,
        "reason": one.reason,
        "error": one.error,
        "given up": _time(one.create_time),
        "channel": word(Channel, one.channel),
        "provider": one.provider,
        "attempts": str(one.attempts),
        "notification": one.notification_id,
        "delivery": one.delivery_id,
        "user": one.user_id,
        "sender": one.sender,
        "kind": one.kind,
        "category": word(Category, one.category),
        "title": found.data.title,
        "message": found.data.message,
        "body": repr(found.body[:_BODY_SHOWN_BYTES]) if found.body else "",
    }
    return ((name, value) for name, value in told.items() if value)


def attempts(found: pb.GetDeadLetterResponse) -> Table:
    """What happened to the delivery, a line each."""
    made = _table("time", "event", "state", "attempt", "provider", "reason")
    for one in found.attempts:
        made.add_row(
            _time(one.time),
            word(TimelineEvent, one.event),
            word(DeliveryState, one.state),
            str(one.attempt or ""),
            Text(one.provider),
            Text(" ".join(filter(None, (one.reason, one.detail)))),
        )
    return made


def progress(replay: pb.Replay) -> str:
    """How far a replay is, in a line."""
    how = "cancelled" if replay.cancelled else "done" if replay.done else "running"
    skipped = f", {replay.skipped} skipped" if replay.skipped else ""
    return f"replay {replay.replay_id} is {how}: {replay.replayed} of {replay.matched} replayed{skipped}"


def _table(*titles: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        # Ids are there to be copied.
        made.add_column(title, no_wrap=title in {"id", "given up", "time"})
    return made


def word(kind: Any, number: int) -> str:
    """The name of a value, as people write it; empty for one that was not given."""
    if not number:
        return ""
    try:
        return str(kind.Type.Name(number)).lower()
    except ValueError:
        return str(number)


def _time(stamp: Timestamp) -> str:
    return stamp.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
