"""The delays between restarts."""

from __future__ import annotations

import pytest

from stack import restarts


def test_the_delay_doubles_up_to_ten_seconds() -> None:
    assert [restarts.delay_s(crash) for crash in range(1, 9)] == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert restarts.delay_s(10_000) == 10


@pytest.mark.parametrize(
    ("before", "healthy_s", "after"),
    [(0, 0.0, 1), (3, 0.0, 4), (3, 4.9, 4), (3, 5.0, 1)],
    ids=["the first", "never served", "served too short", "served long"],
)
def test_a_process_that_served_starts_over(before: int, healthy_s: float, after: int) -> None:
    assert restarts.crashes_in_row(before, healthy_s) == after
