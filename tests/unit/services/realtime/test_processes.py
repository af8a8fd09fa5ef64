"""When a process is started again, and what it is told to inherit."""

from __future__ import annotations

import pytest

from services.realtime import inherited, processes


def test_a_process_that_ends_again_and_again_is_started_less_often() -> None:
    assert [processes.again_in_s(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 1_000)] == [
        0.25,
        0.5,
        1,
        2,
        4,
        8,
        10,
        10,
    ]


@pytest.mark.parametrize("descriptors", [{}, {"websocket": 3}, {"websocket": 3, "longpoll": 17, "life": 4}])
def test_what_is_told_is_read(descriptors: dict[str, int]) -> None:
    assert inherited.read(inherited.told(descriptors)) == descriptors


@pytest.mark.parametrize("text", ["websocket", "websocket=", "=3", "websocket=-1", "websocket=3;life=4"])
def test_what_nobody_tells(text: str) -> None:
    with pytest.raises(ValueError, match="for the supervisor"):
        inherited.read(text)
