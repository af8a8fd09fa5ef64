"""FilterService by the rules."""

from __future__ import annotations

from typing import Any

from crown.clock import Clock, now
from crown.notification.v1 import filter_service_pb2 as pb
from services.ingest.filter import rules
from services.ingest.filter.rules import Bounds


class FilterService:
    """The servicer."""

    def __init__(self, bounds: Bounds, clock: Clock = now) -> None:
        self._bounds = bounds
        self._clock = clock

    async def FilterNotifications(
        self, request: pb.FilterNotificationsRequest, _context: Any
    ) -> pb.FilterNotificationsResponse:
        """Decides on each item."""
        present = self._clock()
        return pb.FilterNotificationsResponse(
            decisions=[rules.judge(item, self._bounds, present) for item in request.items]
        )
