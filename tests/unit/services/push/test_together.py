"""One outcome of the outcomes of several devices."""

from __future__ import annotations

import pytest

from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from services.push.together import Gone, together

OK, GONE, NO = Delivered("m"), Gone("UNREGISTERED"), Discard("PROVIDER_REFUSED", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param([OK], OK, id="delivered"),
        pytest.param([GONE], Discard("UNREGISTERED", "UNREGISTERED"), id="gone"),
        pytest.param([GONE, GONE], Discard("UNREGISTERED", "UNREGISTERED"), id="all gone"),
        pytest.param([GONE, NO, OK], OK, id="any that took it"),
        pytest.param([GONE, NO], NO, id="a refusal says more than a device that is gone"),
        pytest.param([Retry("503"), OK], Retry("503", None, ("1",)), id="retry what is left"),
        pytest.param(
            [Retry("503"), GONE, NO], Retry("503", None, ("1", "2")), id="done also where it never can"
        ),
        pytest.param([Snooze("429", 3.0), OK], Snooze("429", 3.0, ("1",)), id="snooze"),
        pytest.param([Snooze("429", 3.0), Snooze("429", 60.0)], Snooze("429", 60.0), id="the longest wish"),
        pytest.param([Snooze("429", 3.0), Retry("503", 1.0)], Retry("503", 3.0), id="a failure counts"),
        pytest.param([Snooze("429"), Retry("503")], Retry("503"), id="without wishes"),
        pytest.param(
            [Unknown("TIMEOUT"), OK, Retry("503")], Unknown("TIMEOUT", ("1",)), id="unknown before all"
        ),
    ],
)
def test_together(results: list[Outcome | Gone], expected: Outcome) -> None:
    assert together({str(n): result for n, result in enumerate(results)}) == expected
