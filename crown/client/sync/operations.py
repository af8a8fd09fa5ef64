# Made from crown/client/operations.py by tools/sync_client.py: change that one.
"""How the suite is, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import grpc

from crown.client.draft import time
from crown.client.sync.calls import Calls
from crown.notification.v1 import books_service_pb2 as books
from crown.notification.v1 import status_service_pb2 as status
from crown.notification.v1.books_service_pb2_grpc import BooksServiceStub
from crown.notification.v1.status_service_pb2_grpc import StatusServiceStub


class Operations:
    """Books and readiness."""

    def __init__(self, channel: grpc.Channel, calls: Calls) -> None:
        self._books = BooksServiceStub(channel)
        self._status = StatusServiceStub(channel)
        self._calls = calls

    def books(self, start: datetime | None = None, end: datetime | None = None) -> books.GetBooksResponse:
        """What was accepted in a stretch of time, the last hour where none is given, and what became of it."""
        request = books.GetBooksRequest(start_time=time("start", start), end_time=time("end", end))
        return self._calls.unary(self._books.GetBooks, request)

    def ready(self) -> Sequence[str]:
        """The parts of the suite, which are all ready. Raises NotReady, naming those that are not."""
        return self._calls.unary(self._status.GetReadiness, status.GetReadinessRequest()).ready
