"""Trace context: taken over where it is one, begun anew where it is not."""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable, Iterator

import pytest

from crown import tracing
from crown.tracing import Kind, Span

GOOD = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (GOOD, True),
        (None, False),
        ("", False),
        (GOOD.upper(), False),
        (GOOD + "\n", False),
        (GOOD[:-1], False),
        ("01" + GOOD[2:], False),
        ("nonsense", False),
    ],
)
def test_only_a_well_formed_context_goes_on(given: str | None, kept: bool) -> None:
    def adopted() -> str:
        tracing.adopt(given)
        return tracing.current()

    found = contextvars.Context().run(adopted)
    assert (found == given) == kept
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found)


def test_a_task_without_one_begins_one_and_keeps_it() -> None:
    first, again = contextvars.Context().run(lambda: (tracing.current(), tracing.current()))
    assert first == again
    assert contextvars.Context().run(tracing.current) != first


# -- spans


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    """The spans that have ended; of the traces that begin here none are sampled."""
    found: list[Span] = []
    tracing.record(found.append)
    yield found
    tracing.record(None)


def apart(work: Callable[[], object]) -> None:
    """Does the work in a context of its own."""
    contextvars.Context().run(work)


def test_a_step_inside_another_follows_it(spans: list[Span]) -> None:
    def work() -> None:
        tracing.adopt(GOOD)
        with tracing.span("outer", channel="email") as outer:
            assert tracing.current() == outer.context
            with tracing.span("inner"):
                tracing.note(attempt=1)
            tracing.note(outcome="DELIVERED")
        assert tracing.current() == GOOD

    apart(work)
    inner, outer = spans
    assert (outer.parent, inner.parent) == (GOOD, outer.context)
    assert (inner.attributes, outer.attributes) == (
        {"attempt": 1},
        {"channel": "email", "outcome": "DELIVERED"},
    )
    assert {tracing.trace_id(span.context) for span in spans} == {"a" * 32}
    assert not outer.failed


@pytest.mark.parametrize("context", [None, GOOD[:-2] + "00", GOOD[:-2] + "02"])
def test_what_is_not_sampled_makes_no_step(spans: list[Span], context: str | None) -> None:
    def work() -> None:
        tracing.adopt(context)
        before = tracing.current()
        with tracing.span("step", channel="email") as step:
            step.set(attempt=1)
            tracing.note(attempt=1)
            tracing.fail()
            assert tracing.current() == before
        assert not step

    apart(work)
    assert spans == []


def test_nothing_is_recorded_without_a_collector() -> None:
    def work() -> None:
        tracing.adopt(GOOD)
        assert not tracing.span("step")
        assert not tracing.root("step", wanted=True)
        assert not tracing.served(GOOD, "step")
        assert tracing.current() == GOOD

    apart(work)


def test_an_exception_fails_a_step_unless_somebody_gave_a_reason(spans: list[Span]) -> None:
    def work() -> None:
        tracing.adopt(GOOD)
        for given in ({}, {"reason": "INVALID_REQUEST"}):
            with pytest.raises(ValueError, match="no"), tracing.span("step", **given):
                raise ValueError("no: heron@example.org")

    apart(work)
    bug, refused = spans
    assert (bug.failed, bug.attributes) == (True, {"error": "ValueError"})
    assert (refused.failed, refused.attributes) == (False, {"reason": "INVALID_REQUEST"})


@pytest.mark.parametrize(("ratio", "wanted", "made"), [(0.0, False, 0), (0.0, True, 50), (1.0, False, 50)])
def test_traces_that_begin_here_are_sampled_by_chance(ratio: float, wanted: bool, made: int) -> None:
    found: list[Span] = []
    tracing.record(found.append, ratio)

    def work() -> None:
        for _ in range(50):
            with tracing.root("step", Kind.INTERNAL, [GOOD, GOOD[:-2] + "00"], wanted=wanted):
                assert tracing.is_sampled(tracing.current()) == bool(made)

    apart(work)
    tracing.record(None)
    assert len({tracing.trace_id(span.context) for span in found}) == len(found) == made
    assert all(span.parent == "" and span.links == (GOOD,) for span in found)


def test_a_server_s_step_goes_on_with_what_it_was_called_with(spans: list[Span]) -> None:
    def work() -> None:
        with tracing.served(GOOD, "call"):
            pass
        with tracing.served("nonsense", "call"):
            assert not tracing.is_sampled(tracing.current())

    apart(work)
    (span,) = spans
    assert (span.parent, span.kind) == (GOOD, Kind.SERVER)


def test_links_are_bound(spans: list[Span]) -> None:
    tracing.span("step", Kind.INTERNAL, GOOD, [GOOD] * 1_000).end()
    assert len(spans[0].links) == tracing.LINKS_MOST
