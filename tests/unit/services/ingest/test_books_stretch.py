"""The stretch of time that somebody asks the books of."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from crown.notification.v1.books_service_pb2 import GetBooksRequest
from services.ingest.books.books import _problems

FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799


@pytest.mark.parametrize("seconds", [FIRST_S, FIRST_S - 1, LAST_S + 1, -(2**63), 2**63 - 1])
def test_a_time_out_of_the_calendar_is_refused(seconds: int) -> None:
    (found,) = _problems(GetBooksRequest(end_time=Timestamp(seconds=seconds)))
    assert found.field == "end_time"
