"""What is told of an exception: where it was, and where what it came from was. Nothing that it says."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from crown import backtrace
from crown.errors import InvalidRequest, StoreUnavailable

CANARY = "ann@heron.example"


def raised(act: Callable[[], object]) -> BaseException:
    try:
        act()
    except BaseException as error:
        return error
    pytest.fail("nothing was raised")


def fails() -> None:
    raise ValueError(f"no mail for {CANARY}")


def with_cause() -> None:
    try:
        fails()
    except ValueError as error:
        raise KeyError(CANARY) from error


def with_context() -> None:
    try:
        fails()
    except ValueError:
        raise KeyError(CANARY)  # noqa: B904 -- without a cause


def group() -> None:
    raise BaseExceptionGroup(CANARY, [raised(with_cause), BaseExceptionGroup(CANARY, [raised(fails)])])


def with_notes() -> None:
    error = ValueError(CANARY)
    error.add_note(CANARY)
    raise error


class Heron(Exception):
    """What says more than it should, in each way that an exception has."""

    code = CANARY
    status = 491_700_004_711

    def __str__(self) -> str:
        return CANARY

    __repr__ = __str__

    @property
    def errno(self) -> int:
        raise RuntimeError(CANARY)


def of_ours() -> None:
    raise Heron(CANARY)


@pytest.mark.parametrize("act", [fails, with_cause, with_context, group, with_notes, of_ours])
def test_no_text_is_told(act: Callable[[], None]) -> None:
    told = json.dumps(backtrace.told(raised(act)))
    assert "heron" not in told
    assert "4711" not in told
    assert f"test_backtrace.py:{act.__code__.co_firstlineno + 1}:" in told or act is not fails


def frames(told: dict[str, Any]) -> list[str]:
    """The functions of its frames, without the test itself."""
    return [frame.rsplit(":", 1)[1] for frame in told["frames"]]


def test_it_is_told_where_it_was() -> None:
    told = backtrace.told(raised(fails))
    assert told["type"] == "ValueError"
    assert frames(told) == ["raised", "fails"]
    line = fails.__code__.co_firstlineno + 1
    assert told["frames"][-1].endswith(f"test_backtrace.py:{line}:fails")
    assert not told["frames"][-1].startswith("/")


def test_what_it_came_from_is_told_as_well() -> None:
    told = backtrace.told(raised(with_cause))
    assert (told["type"], told["cause"]["type"]) == ("KeyError", "ValueError")
    assert frames(told["cause"]) == ["with_cause", "fails"]
    assert backtrace.told(raised(with_context))["context"]["type"] == "ValueError"


def test_the_members_of_a_group_are_told() -> None:
    told = backtrace.told(raised(group))
    assert told["type"] == "ExceptionGroup"
    assert [one["type"] for one in told["errors"]] == ["KeyError", "ExceptionGroup"]
    assert told["errors"][0]["cause"]["type"] == "ValueError"
    assert told["errors"][1]["errors"][0]["type"] == "ValueError"


def test_a_ring_ends() -> None:
    one, other = raised(fails), raised(with_notes)
    one.__cause__, other.__cause__ = other, one
    told = backtrace.told(one)
    assert "cause" not in told["cause"]


def test_there_are_not_too_many() -> None:
    told = backtrace.told(ExceptionGroup("", [ValueError() for _ in range(1_000)]))
    assert len(told["errors"]) == backtrace.EXCEPTIONS_MOST - 1


def deep(left: int) -> None:
    if left:
        deep(left - 1)
    fails()


def test_of_many_frames_both_ends_are_told() -> None:
    told = backtrace.told(raised(lambda: deep(200)))
    assert len(told["frames"]) == backtrace.OUTER_MOST + backtrace.INNER_MOST + 1
    assert told["frames"][backtrace.OUTER_MOST] == "164 more"
    assert told["frames"][-1].endswith(":fails")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, CANARY), "ECONNREFUSED"),
        (
            grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), CANARY
            ),
            "UNAVAILABLE",
        ),
        (SystemExit(2), 2),
        (ValueError(2), None),
    ],
)
def test_a_number_or_a_name_says_why(error: BaseException, code: object) -> None:
    assert backtrace.told(error).get("code") == code


def test_a_text_of_ours_is_kept_where_the_class_says_so() -> None:
    assert backtrace.told(StoreUnavailable("the store is away"))["text"] == "the store is away"
    assert backtrace.word(StoreUnavailable("the store is away")) == "the store is away"
    assert "text" not in backtrace.told(InvalidRequest(f"email: {CANARY} is none"))
    assert backtrace.word(InvalidRequest(CANARY)) == "crown.errors.InvalidRequest"


def test_a_place_is_told_as_python_imports_it() -> None:
    assert backtrace.place(json.__file__, 3, "f") == "json/__init__.py:3:f"
    assert backtrace.place(grpc.__file__, 3, "f") == "grpc/__init__.py:3:f"
    assert backtrace.place("/srv/heron/x.py", 3, "f") == "x.py:3:f"
    assert backtrace.place("<template>", 3, "f") == "<template>:3:f"
    assert not any(backtrace.place(f"{root}/a.py", 1, "f").startswith("/") for root in sys.path)
