"""Logs stay below a size and are followed through it."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest

from stack import logs
from stack.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.make()
    return layout


def test_the_last_lines(layout: Layout) -> None:
    layout.log("nats").write_text("".join(f"line {number}\n" for number in range(100)))
    assert logs.tail(layout.log("nats"), 2) == ["line 98", "line 99"]
    assert logs.tail(layout.log("nats"), 0) == []
    assert logs.tail(layout.log("missing"), 2) == []


def test_a_long_log_is_cut_while_its_writer_has_it_open(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 100)
    with layout.log("nats").open("ab", buffering=0) as writer:
        writer.write(b"x" * 101)
        logs.cap(layout)
        writer.write(b"after\n")
    assert layout.log("nats").read_bytes() == b"after\n"
    assert layout.logs.joinpath("nats.log.1").stat().st_size == 101


def test_a_short_log_is_left_alone(layout: Layout) -> None:
    layout.log("nats").write_text("short\n")
    logs.cap(layout)
    assert [path.name for path in layout.logs.iterdir()] == ["nats.log"]


def test_following_yields_whole_lines_as_they_come(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    path = layout.log("nats")
    path.write_text("old\n")
    writes = iter(["first\nsec", "ond\n"])
    with path.open("a") as writer:

        def write_more(_seconds: float) -> None:
            writer.write(next(writes))
            writer.flush()

        monkeypatch.setattr(time, "sleep", write_more)
        assert [line for _, line in islice(logs.follow([path]), 2)] == ["first", "second"]
