"""How one reader shares itself between lanes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown.lanes import shares

LANES = ("critical", "normal", "bulk")
WAITING = st.fixed_dictionaries({lane: st.integers(0, 3_000) for lane in LANES})


@pytest.mark.parametrize(
    ("room", "waiting", "expected"),
    [
        (100, (0, 0, 0), (0, 0, 0)),
        (100, (10, 20, 30), (10, 20, 30)),
        (90, (0, 900, 900), (0, 80, 10)),
        (90, (9, 900, 900), (9, 72, 9)),
        (90, (200, 900, 900), (90, 0, 0)),
        (90, (0, 0, 900), (0, 0, 90)),
        (90, (0, 900, 0), (0, 90, 0)),
        (90, (0, 5, 900), (0, 5, 85)),
        (90, (0, 900, 5), (0, 85, 5)),
        (2, (0, 9, 9), (0, 1, 1)),
        (1, (0, 9, 9), (0, 1, 0)),
        (1, (0, 0, 9), (0, 0, 1)),
        (1, (9, 9, 9), (1, 0, 0)),
        (0, (9, 9, 9), (0, 0, 0)),
    ],
)
def test_by_example(room: int, waiting: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert shares(room, dict(zip(LANES, waiting, strict=True))) == dict(zip(LANES, expected, strict=True))


@given(st.integers(0, 1_000), WAITING)
def test_nobody_gets_more_than_there_is(room: int, waiting: dict[str, int]) -> None:
    taken = shares(room, waiting)
    assert sum(taken.values()) <= room
    assert all(0 <= taken[lane] <= waiting[lane] for lane in LANES)


@given(st.integers(0, 1_000), WAITING)
def test_no_room_is_left_while_somebody_waits(room: int, waiting: dict[str, int]) -> None:
    assert sum(shares(room, waiting).values()) == min(room, sum(waiting.values()))


@given(st.integers(0, 1_000), WAITING)
def test_critical_goes_first(room: int, waiting: dict[str, int]) -> None:
    assert shares(room, waiting)["critical"] == min(room, waiting["critical"])


@given(st.integers(0, 1_000), WAITING)
def test_normal_and_bulk_never_starve_each_other(room: int, waiting: dict[str, int]) -> None:
    taken = shares(room, waiting)
    left = room - taken["critical"]
    if left >= 2:
        assert all(taken[lane] > 0 for lane in ("normal", "bulk") if waiting[lane])
    # A ninth for bulk, eight for normal, to within what rounding takes.
    for lane, part in (("normal", 8 / 9), ("bulk", 1 / 9)):
        assert taken[lane] >= min(waiting[lane], int(left * part) - 1)


@given(st.integers(0, 1_000), st.integers(0, 3_000))
def test_a_reader_of_one_lane_takes_what_it_can(room: int, waiting: int) -> None:
    for lane in LANES:
        assert shares(room, {lane: waiting})[lane] == min(room, waiting)
