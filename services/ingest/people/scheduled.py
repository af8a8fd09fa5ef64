"""Takes an erased person out of what waits for its time on the bus. Each such message is put on the intake at once,
where dispatch ends what is for them and puts off the rest again; and then it is deleted. A crash between the two
leaves both, and the same is done again: rows and schedules are functions of what they are about."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from crown import logs, subjects
from crown.bus import Bus, BusError, Outgoing
from crown.clock import moment
from crown.erasures import Mark
from crown.notification.v1.events_pb2 import IntakeEvent
from crown.vault import Key
from services.ingest.dispatch import scheduling

log = logs.get(__name__)

_NO_SUCH_MESSAGE = 10037


async def bring_forward(bus: Bus, data_key: Key, mark: Mark) -> int:
    """Whatever was accepted for them until they were erased; answers how many messages that were. Raises what the
    bus raises."""
    count = 0
    for whom in (scheduling.whom(data_key, [mark.user_id]), subjects.SEVERAL):
        async for sequence, subject, data in _waiting(bus, subjects.schedules_for(whom)):
            lane = _lane(data, mark)
            if lane:
                await bus.publish(Outgoing(subjects.intake(lane), data))
                # What dispatch has put off meanwhile under the same subject comes behind it, and stays.
                purge = {"filter": subject, "seq": sequence + 1}
                await bus.api(f"STREAM.PURGE.{subjects.SCHEDULE}", purge)
                count += 1
    return count


async def _waiting(bus: Bus, pattern: str) -> AsyncIterator[tuple[int, str, bytes]]:
    """Sequence, subject and bytes of each message that waits on `pattern`."""
    sequence = 0
    while True:
        request = {"seq": sequence + 1, "next_by_subj": pattern}
        try:
            found = (await bus.api(f"STREAM.MSG.GET.{subjects.SCHEDULE}", request))["message"]
        except BusError as error:
            if error.err_code != _NO_SUCH_MESSAGE:
                raise
            return
        sequence = found["seq"]
        yield sequence, found["subject"], b64decode(found.get("data", ""))


def _lane(data: bytes, mark: Mark) -> str:
    """Where a message goes that is for them; empty where it is not, or is newer than the erasure."""
    if mark.user_id.encode() not in data:
        return ""
    try:
        event = IntakeEvent.FromString(data)
        theirs = mark.user_id in event.user_ids and moment(event.create_time) <= mark.time
    except (DecodeError, ValueError, OverflowError):
        # Dispatch cannot read it either, and makes a dead letter of it when it is due.
        log.warning("scheduled_unreadable", erasure=mark.id)
        return ""
    return subjects.LANES.get(event.priority, "") if theirs else ""
