"""Of an exception the logs tell type and place, and none of its words."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest

from crown import backtrace

ROOT = Path(__file__).resolve().parents[3]
CANARY = "heron@example.org"


E = TypeVar("E", bound=BaseException)


def raised(error: E) -> E:
    """The same, with a place."""
    try:
        raise error
    except BaseException:
        return error


def chained() -> ValueError:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(CANARY) from error
    except ValueError as error:
        return error


def in_passing() -> BaseException:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError:
            raise ValueError(CANARY)  # noqa: B904 -- that is the case
    except ValueError as error:
        return error


def grouped() -> BaseException:
    return raised(ExceptionGroup(CANARY, [raised(KeyError(CANARY)), raised(chained())]))


def noted() -> BaseException:
    error = ValueError(CANARY)
    error.add_note(CANARY)
    return raised(error)


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (raised(ValueError(CANARY)), ["ValueError"]),
        (chained(), ["KeyError", "ValueError"]),
        (in_passing(), ["KeyError", "ValueError"]),
        (grouped(), ["ExceptionGroup", "KeyError", "ValueError"]),
        (noted(), ["ValueError"]),
        (raised(asyncio.QueueFull(CANARY)), ["asyncio.queues.QueueFull"]),
        (raised(OSError(CANARY)), ["OSError"]),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, BaseException) else "",
)
def test_it_says_what_and_where_and_no_word_of_it(error: BaseException, names: list[str]) -> None:
    told = backtrace.text(error)
    assert CANARY not in told
    assert [name for name in names if name not in told] == []
    assert "test_backtrace.py" in told


def test_the_words_of_the_system_are_told() -> None:
    told = backtrace.text(raised(OSError(errno.EADDRINUSE, CANARY, CANARY)))
    assert told.endswith("OSError: Address already in use")
    assert CANARY not in told


def test_one_that_came_from_itself_has_an_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert backtrace.text(first).count("ValueError") == 2


def test_libraries_log_exceptions_as_we_do() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(backtrace.Formatter("%(message)s"))
    logger = logging.Logger("somebody")
    logger.addHandler(handler)
    logger.error("it failed", exc_info=raised(ValueError(CANARY)))
    assert written.getvalue().startswith("it failed\n")
    assert "ValueError" in written.getvalue()
    assert CANARY not in written.getvalue()


FAILS = """
import logging, sys
from crown import logs
logs.set_up("email")
log = logs.get("m")
try:
    raise ValueError(sys.argv[1])
except ValueError as error:
    log.error("one", exc_info=error)
    log.exception("two")
    logging.getLogger("somebody").exception("three")
"""


def test_a_process_writes_no_words_of_an_exception() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILS, CANARY], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["one", "two"]
    assert all(line["exception"].endswith("ValueError") for line in lines)
    assert "three" in done.stderr
    assert "ValueError" in done.stderr
    assert CANARY not in done.stdout + done.stderr
