"""What the benchmark's table is made of."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench import rounds, table
from bench.latency import Latencies
from bench.table import Figure


def test_latencies_travel_and_add_up() -> None:
    fast, slow = Latencies.of([0.001] * 98), Latencies.of([0.2, 0.2])
    together = Latencies.read(fast.text())
    together.add(slow)
    assert together.count == 100
    assert together.at(50) == pytest.approx(1.0, rel=0.01)
    assert together.at(99) == pytest.approx(200.0, rel=0.01)


def test_latencies_have_bounds_and_an_empty_case() -> None:
    assert Latencies.of([]).at(99) == 0.0
    assert Latencies.of([0.0, 1e9]).count == 2


async def test_each_side_goes_first_every_other_time() -> None:
    order: list[str] = []

    async def run(who: str) -> str:
        order.append(who)
        return who

    pairs = await rounds.in_turn(lambda: run("a"), lambda: run("b"), 3)
    assert pairs == [("a", "b")] * 3
    assert "".join(order) == "abbaab"


def test_the_ratio_is_the_middle_of_the_rounds() -> None:
    assert rounds.ratio([(80.0, 100.0), (1.0, 100.0), (90.0, 100.0)]) == 0.8
    assert rounds.ratio([(1.0, 0.0)]) == 0.0


@pytest.mark.parametrize(("reached", "word"), [(True, "reached"), (False, "below"), (None, "")], ids=str)
def test_the_table_says_whether_it_was_reached(reached: bool | None, word: str) -> None:
    shown = io.StringIO()
    table.show([Figure("accept", "1/s", reached=reached)], Console(file=shown, width=170))
    row = shown.getvalue().splitlines()[1]
    assert row.split() == ["accept", "1/s", *([word] if word else [])]
