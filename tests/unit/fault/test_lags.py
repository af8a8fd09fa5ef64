"""How long things took, before, during and after a fault."""

from __future__ import annotations

import pytest

from crown import ids
from tests.fault import lags
from tests.fault.evidence import Effect, Evidence, Span
from tests.fault.history import Answer, Attempt, Request, Sent
from tests.fault.lags import Lag

FAULT = Span(10.0, 20.0)


def _sent(key: str, *attempts: tuple[Answer, float, float]) -> Sent:
    request = Request(
        key, ids.keyed_notification("feed", "Send", key, 0), "sms", "social", "normal", ("ann",), key
    )
    return Sent(request, tuple(Attempt(key, answer, "", began, ended) for answer, began, ended in attempts))


@pytest.mark.parametrize(
    ("durations_s", "found"),
    [
        ([], Lag(0, 0.0, 0.0)),
        ([3.0], Lag(1, 3.0, 3.0)),
        ([4.0, 1.0, 3.0, 2.0], Lag(4, 2.0, 4.0)),
        ([float(number) for number in range(1, 201)], Lag(200, 100.0, 198.0)),
    ],
)
def test_percentiles(durations_s: list[float], found: Lag) -> None:
    assert Lag.of(durations_s) == found


def test_answers_count_from_the_first_attempt() -> None:
    found = lags.answers(
        [
            _sent("a", (Answer.ACCEPTED, 1.0, 1.5)),
            _sent("b", (Answer.UNKNOWN, 12.0, 22.0), (Answer.ACCEPTED, 23.0, 24.0)),
            _sent("c", (Answer.REFUSED, 12.0, 12.1)),
            _sent("d", (Answer.ACCEPTED, 21.0, 21.25)),
        ],
        FAULT,
    )
    assert (found.before, found.during, found.after) == (
        Lag(1, 0.5, 0.5),
        Lag(1, 12.0, 12.0),
        Lag(1, 0.25, 0.25),
    )


def test_what_the_fault_held_up_is_not_the_time_before() -> None:
    found = lags.answers(
        [_sent("a", (Answer.ACCEPTED, 1.0, 1.5)), _sent("b", (Answer.ACCEPTED, 9.5, 19.5))], FAULT
    )
    assert (found.before, found.during) == (Lag(1, 0.5, 0.5), Lag(1, 10.0, 10.0))


def test_the_first_arrival_counts_and_what_did_not_arrive_does_not() -> None:
    one, other = _sent("a", (Answer.ACCEPTED, 11.0, 11.5)), _sent("b", (Answer.ACCEPTED, 11.0, 11.5))
    effects = [
        Effect(
            "twilio",
            one.request.notification_id,
            ids.delivery(one.request.notification_id, "ann", "sms"),
            "",
            at,
        )
        for at in (15.0, 13.0)
    ]
    found = lags.handed([one, other], Evidence(effects=effects), FAULT)
    assert found.during == Lag(1, 2.0, 2.0)
    assert lags.handed([one, other], Evidence(effects=effects), FAULT, "push").during.count == 0


def test_without_a_fault_all_is_before() -> None:
    found = lags.answers([_sent("a", (Answer.ACCEPTED, 11.0, 11.5))], None)
    assert (found.before.count, found.during.count, found.after.count) == (1, 0, 0)
