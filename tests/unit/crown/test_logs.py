"""Log lines: what they carry, and which of many that are alike are written."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from crown import logs, metrics, tracing

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
Lines = Callable[[], list[dict[str, Any]]]


class Reported(list[logs.Line]):
    """What was told to be reported."""

    def __call__(self, line: logs.Line) -> None:
        self.append(dict(line))


@pytest.fixture
def reported() -> Reported:
    return Reported()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, reported: Reported) -> Iterator[Lines]:
    """Reads what was logged."""
    out = io.BytesIO()
    text = io.TextIOWrapper(out)
    monkeypatch.setattr(sys, "stdout", text)
    monkeypatch.setattr(logs, "repeats", logs.Repeats())
    monkeypatch.setattr(logs, "_is_set_up", False)
    logs.set_up("test", "INFO", reported)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    # Until here: it closes what it wraps when it goes.
    del text
    structlog.reset_defaults()


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


def test_a_line_says_what_where_and_when(lines: Lines) -> None:
    logs.get("crown.somewhere").info("happened", count=3)
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "happened",
        "level": "info",
        "service": "test",
        "module": "crown.somewhere",
        "count": 3,
    }


def test_what_is_below_the_level_is_not_written(lines: Lines) -> None:
    logs.get("m").debug("happened")
    assert lines() == []


def test_a_logger_that_was_there_before_the_set_up_goes_by_it(lines: Lines) -> None:
    log = logs.get("m")
    logs._is_set_up = False
    with structlog.testing.capture_logs() as early:
        log.error("too_early")
    logs._is_set_up = True
    log.error("happened")
    assert [line["event"] for line in early] == ["too_early"]
    assert [(line["event"], line["service"]) for line in lines()] == [("happened", "test")]


async def test_every_line_of_a_task_carries_what_it_works_on(lines: Lines) -> None:
    log = logs.get("m")

    async def work(notification_id: str) -> None:
        tracing.adopt(TRACE)
        logs.bind(request_id="r", notification_id=notification_id)
        await asyncio.sleep(0)
        log.info("deep_within", notification_id=notification_id)
        log.info("deep_within")

    await asyncio.gather(work("n1"), work("n2"))
    log.info("outside")
    found = lines()
    assert sorted(line["notification_id"] for line in found[:-1]) == ["n1", "n1", "n2", "n2"]
    assert {(line["request_id"], line["trace_id"]) for line in found[:-1]} == {("r", "a" * 32)}
    assert not {"notification_id", "request_id", "trace_id"} & found[-1].keys()


async def test_what_is_empty_is_carried_no_longer(lines: Lines) -> None:
    async def work() -> None:
        logs.bind(notification_id="n", request_id="r")
        logs.bind(notification_id="")
        logs.get("m").info("happened")

    await asyncio.create_task(work())
    (line,) = lines()
    assert "notification_id" not in line
    assert line["request_id"] == "r"


# -- repeats


def written(repeats: logs.Repeats, method: str = "warning", **line: Any) -> logs.Line | None:
    try:
        return repeats.hold_back(None, method, line)
    except structlog.DropEvent:
        return None


def test_the_first_of_each_kind_are_written_and_the_rest_is_told_in_one_line() -> None:
    clock = Clock()
    repeats = logs.Repeats(clock, most=3)
    first = [written(repeats, event="a", reason="x", module="m", n=n) for n in range(10)]
    assert [line and line["n"] for line in first] == [0, 1, 2] + [None] * 7
    assert written(repeats, event="a", reason="y") is not None
    assert written(repeats, event="b", reason="x") is not None
    assert written(repeats, event="a", reason="x", method="another") is not None
    assert written(repeats, event="a", reason="x", channel="sms") is not None
    assert repeats.over() == []
    clock.time += 60
    told = {"event": "a", "module": "m", "level": "warning", "reason": "x", "repeated": 7}
    assert repeats.over() == [told]
    assert repeats.over() == []
    assert written(repeats, event="a", reason="x") == {"event": "a", "reason": "x"}


def test_the_next_line_tells_what_nobody_told_before() -> None:
    clock = Clock()
    repeats = logs.Repeats(clock, most=1)
    assert [written(repeats, event="a") is None for _ in range(4)] == [False, True, True, True]
    clock.time += 60
    assert written(repeats, event="a") == {"event": "a", "repeated": 3}
    assert repeats.over() == []


def test_an_exception_is_a_reason() -> None:
    repeats = logs.Repeats(Clock(), most=1)
    assert written(repeats, "error", event="a", exc_info=KeyError("one"))
    assert written(repeats, "error", event="a", exc_info=KeyError("two")) is None
    assert written(repeats, "error", event="a", exc_info=ValueError("one"))


def test_what_somebody_did_is_always_written() -> None:
    repeats = logs.Repeats(Clock(), most=1)
    assert all(written(repeats, "info", event="dead_letter_read", operator="o") for _ in range(50))


def test_reasons_without_end_fill_no_memory() -> None:
    repeats = logs.Repeats(Clock(), most=1)
    kept = [written(repeats, event="a", reason=str(number)) is not None for number in range(3_000)]
    assert sum(kept) == 1_001
    assert len(repeats._windows) == 1_001


async def test_a_process_tells_of_repeats_when_it_ends(lines: Lines) -> None:
    log = logs.get("m")
    counted = metrics.problems("error", "happens_often")
    before = counted._value.get()
    with logs.repeats_told():
        for _ in range(logs.A_MINUTE + 5):
            log.error("happens_often", reason="X")
    *first, last = lines()
    assert len(first) == logs.A_MINUTE
    assert (last["event"], last["level"], last["reason"], last["module"]) == (
        "happens_often",
        "error",
        "X",
        "m",
    )
    assert last["repeated"] == 5
    assert counted._value.get() - before == logs.A_MINUTE + 5


# -- reports


def test_an_error_with_a_traceback_is_reported(lines: Lines, reported: Reported) -> None:
    log = logs.get("m")
    try:
        raise KeyError("k")
    except KeyError as error:
        log.error("failed", exc_info=error)
        log.exception("failed_too")
        log.warning("away", exc_info=error)
    log.error("refused", reason="R")
    assert [line["event"] for line in reported] == ["failed", "failed_too"]
    assert [("exception" in line) for line in lines()] == [True, True, True, False]


def test_what_is_held_back_is_not_reported(lines: Lines, reported: Reported) -> None:
    for _ in range(logs.A_MINUTE + 5):
        logs.get("m").error("failed", exc_info=KeyError("k"))
    assert len(reported) == len(lines()) == logs.A_MINUTE


# -- exceptions

CANARY = "ann@heron.example"


def test_an_exception_is_told_without_its_text(lines: Lines) -> None:
    log = logs.get("m")
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as cause:
            raise ExceptionGroup(CANARY, [ValueError(CANARY)]) from cause
    except ExceptionGroup as error:
        log.error("failed", exc_info=error)
        log.error("failed_with", exc_info=(type(error), error, error.__traceback__))
        log.warning("failed_now", exc_info=True)
        log.exception("failed_so")
        log.error("failed_as", error=error)
    *found, value = lines()
    assert CANARY not in json.dumps(lines())
    for line in found:
        assert line["exception"]["type"] == "ExceptionGroup"
        assert line["exception"]["cause"]["type"] == "KeyError"
        assert line["exception"]["errors"][0]["type"] == "ValueError"
        assert line["exception"]["frames"][-1].endswith(":test_an_exception_is_told_without_its_text")
        assert "exc_info" not in line
    assert value["error"] == "ExceptionGroup"


def test_a_line_without_an_exception_says_nothing_of_one(lines: Lines) -> None:
    logs.get("m").warning("away", exc_info=None)
    logs.get("m").warning("away", exc_info=False)
    assert not any({"exception", "exc_info"} & line.keys() for line in lines())
