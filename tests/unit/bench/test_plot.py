"""The line over time."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench import plot
from bench.campaign import Run


@pytest.mark.parametrize("points", [[(0.0, 0.0)], [(0.0, 100.0), (30.0, 120.0), (60.0, 110.0)]])
def test_each_point_is_within_the_picture(points: list[tuple[float, float]]) -> None:
    root = ElementTree.fromstring(plot.svg("Memory", points, "seconds", "MiB"))
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    found = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert len(found) == len(points)
    assert all(0 <= x <= 720 and 0 <= y <= 260 for x, y in found)


def test_growth_is_the_most_beside_that_of_the_first_tenth() -> None:
    memory = [(float(second), 100.0 + second) for second in range(100)]
    assert Run(1, memory=memory).growth == pytest.approx(199 / 109)
    assert Run(1, memory=[(0.0, 100.0)]).growth == 1.0
