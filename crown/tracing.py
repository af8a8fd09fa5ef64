"""Traces: the context (W3C traceparent) that is carried from the caller over the bus to the provider's attempt and
back with its callback, and the spans on the way. Whoever begins a trace decides whether it is sampled; everybody
behind them keeps to it. Without a collector, and in a trace that is not sampled, a span is `NOTHING`, and costs
a look at the context.

Spans tell which notification, channel, lane, kind, provider, outcome, attempt and reason; never who it is for, nor
what it says. Providers are sent no context: whom we send to when is nothing that they have to put together."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import Final

HEADER = "traceparent"
_FORM = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED = "01"
# Of a span; what is more says nothing more.
LINKS_MOST = 32
# The ids only have to differ.
_CHANCE = random.Random(os.urandom(16))
os.register_at_fork(after_in_child=_CHANCE.seed)

Value = str | int


class Kind:
    """What a span is to the one before it, by the numbers of OTLP. No enum: to look up a member of one costs as much
    as all else that is done about a trace that is not sampled."""

    INTERNAL: Final = 1
    SERVER: Final = 2
    CLIENT: Final = 3
    PRODUCER: Final = 4
    CONSUMER: Final = 5


class Nothing:
    """A span that nobody records."""

    __slots__ = ()
    context = ""

    def set(self, **attributes: Value) -> None:
        """As `Span.set`."""

    def fail(self) -> None:
        """As `Span.fail`."""

    def end(self) -> None:
        """As `Span.end`."""

    def __bool__(self) -> bool:
        return False

    def __enter__(self) -> Nothing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


NOTHING = Nothing()


class Span:
    """One step of a trace. As a context manager it is what `current` continues, and ends with the block; where
    an exception leaves the block, it failed. `end` it otherwise. `context` is what those behind it go on with."""

    __slots__ = (
        "_before",
        "attributes",
        "begin_ns",
        "context",
        "end_ns",
        "failed",
        "kind",
        "links",
        "name",
        "parent",
    )

    def __init__(
        self,
        name: str,
        kind: int,
        trace: str,
        parent: str,
        links: Iterable[str],
        attributes: dict[str, Value],
    ) -> None:
        self.name = name
        self.kind = kind
        self.parent = parent
        self.links = tuple(link for link in links if is_sampled(link))[:LINKS_MOST]
        self.attributes = attributes
        self.context = f"00-{trace}-{_CHANCE.getrandbits(64) or 1:016x}-{_SAMPLED}"
        self.failed = False
        self.begin_ns = time.time_ns()
        self.end_ns = 0
        self._before: str | Span = ""

    def set(self, **attributes: Value) -> None:
        """Adds attributes. What is empty says nothing, and is left out when it is told."""
        self.attributes.update(attributes)

    def fail(self) -> None:
        """Marks it as an error."""
        self.failed = True

    def end(self) -> None:
        """Ends it, once, and has it told."""
        if not self.end_ns:
            self.end_ns = time.time_ns()
            if _tell is not None:
                _tell(self)

    def __enter__(self) -> Span:
        self._before = _current.get()
        _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not by a token: the steps of an asynchronous generator may run in different contexts.
        _current.set(self._before)
        # Where there is a reason, whoever gave it has said whether it is an error.
        if isinstance(error, Exception) and "reason" not in self.attributes:
            self.failed = True
            self.attributes["error"] = type(error).__name__
        self.end()


_current: ContextVar[str | Span] = ContextVar("traceparent", default="")
# Where spans go that have ended; None: nowhere, and none are made.
_tell: Callable[[Span], None] | None = None
_ratio = 0.0


def record(tell: Callable[[Span], None] | None, ratio: float = 0.0) -> None:
    """Has spans told to `tell` from now on, and none made where it is None. `ratio` of the traces that begin here
    are sampled."""
    global _tell, _ratio
    _tell, _ratio = tell, ratio


# -- the context


def adopt(traceparent: str | None) -> None:
    """Makes `traceparent` the context of this task; one that is missing or malformed starts a new trace."""
    _current.set(traceparent if traceparent and _FORM.fullmatch(traceparent) else fresh())


def fresh() -> str:
    """A new, unsampled trace."""
    return f"00-{_CHANCE.getrandbits(128) or 1:032x}-{_CHANCE.getrandbits(64) or 1:016x}-00"


def current() -> str:
    """The context of this task; begins one where there is none."""
    found = _current.get()
    if isinstance(found, Span):
        return found.context
    if not found:
        found = fresh()
        _current.set(found)
    return found


def header(traceparent: str) -> dict[str, str] | None:
    """The header of a message that goes on with this context; None where there is none."""
    return {HEADER: traceparent} if traceparent else None


def is_sampled(traceparent: str) -> bool:
    """Whether spans of this trace are recorded, by whoever has a place to put them."""
    # The lowest bit of the flags.
    return traceparent[-1:] in _ODD


def unsampled(traceparent: str) -> str:
    """The same trace for who is not to record anything."""
    return f"{traceparent[:-2]}00"


def trace_id(traceparent: str) -> str:
    """The trace's id."""
    return traceparent[3:35]


_ODD = frozenset("13579bdf")


# -- spans


def span(
    name: str,
    kind: int = Kind.INTERNAL,
    parent: str = "",
    links: Iterable[str] = (),
    begin_ns: int = 0,
    /,
    **attributes: Value,
) -> Span | Nothing:
    """The next step of the trace of `parent`, or of this task where it is not given; begun at `begin_ns` by the
    clock of the world where it is not now."""
    if _tell is None:
        return NOTHING
    parent = parent or current()
    if not is_sampled(parent):
        return NOTHING
    found = Span(name, kind, trace_id(parent), parent, links, attributes)
    found.begin_ns = begin_ns or found.begin_ns
    return found


def root(
    name: str,
    kind: int = Kind.INTERNAL,
    links: Iterable[str] = (),
    /,
    *,
    wanted: bool = False,
    **attributes: Value,
) -> Span | Nothing:
    """The first step of a trace that begins here, and which this task is in from now on. It is sampled by chance,
    and where it is `wanted`."""
    begun = fresh()
    _current.set(begun)
    if _tell is None or not (wanted or _CHANCE.random() < _ratio):
        return NOTHING
    return Span(name, kind, trace_id(begun), "", links, attributes)


def served(traceparent: str | None, name: str) -> Span | Nothing:
    """The step of a server that was called with `traceparent`."""
    if _tell is None:
        adopt(traceparent)
        return NOTHING
    if traceparent and _FORM.fullmatch(traceparent):
        _current.set(traceparent)
        return span(name, Kind.SERVER)
    return root(name, Kind.SERVER)


def note(**attributes: Value) -> None:
    """Adds attributes to the step that this task is in."""
    if _tell is None:
        return
    found = _current.get()
    if isinstance(found, Span):
        found.set(**attributes)


def fail() -> None:
    """Marks the step that this task is in as an error."""
    found = _current.get()
    if isinstance(found, Span):
        found.fail()
