"""Time, passed in so that tests can set it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

Clock = Callable[[], datetime]


def now() -> datetime:
    """The present, in UTC, to the millisecond: what MongoDB can keep."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def timestamp(moment: datetime | None) -> Timestamp | None:
    """`moment` as a protobuf timestamp; None stays None, which leaves a field absent."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def moment(stamp: Timestamp) -> datetime:
    """A protobuf timestamp as an aware datetime, to the millisecond."""
    found = stamp.ToDatetime(tzinfo=UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)
