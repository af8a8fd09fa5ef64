"""What `crown status` reads: the supervisor's words while it lives, "stopped" afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack import state
from stack.layout import Layout
from stack.state import Health, Phase, ProcessStatus, StackState


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    return layout


def running() -> StackState:
    return StackState(
        phase=Phase.UP,
        processes=[
            ProcessStatus("nats", 42, "127.0.0.1:3022", Health.HEALTHY, restarts=1),
            ProcessStatus("valkey", None, "cache:6379", Health.EXTERNAL),
        ],
    )


def test_nothing_is_known_of_a_stack_that_never_ran(layout: Layout) -> None:
    assert state.read(layout) == StackState()
    assert state.supervisor_pid(layout) is None


def test_while_the_supervisor_lives_its_words_count(layout: Layout) -> None:
    state.write(layout, running())
    with state.held(layout, 4711) as mine:
        assert mine
        assert state.supervisor_pid(layout) == 4711
        assert state.read(layout) == running()


def test_after_its_death_everything_of_its_own_is_stopped(layout: Layout) -> None:
    with state.held(layout, 4711):
        state.write(layout, running())
    found = state.read(layout)
    assert found.phase is Phase.DOWN
    assert [(one.pid, one.health) for one in found.processes] == [
        (None, Health.STOPPED),
        (None, Health.EXTERNAL),
    ]


def test_a_failure_is_remembered(layout: Layout) -> None:
    state.write(layout, StackState(phase=Phase.FAILED, failed="nats", reason="it ended"))
    assert (state.read(layout).phase, state.read(layout).failed) == (Phase.FAILED, "nats")


def test_a_second_supervisor_is_turned_away(layout: Layout) -> None:
    with state.held(layout, 1) as first, state.held(layout, 2) as second:
        assert (first, second) == (True, False)
