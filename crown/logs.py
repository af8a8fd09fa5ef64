"""Logs: one JSON line an event, on standard output; docs/logs.md has a row for each. Addresses and content are never
logged, and of an exception not its text (crown/backtrace.py). What handles a notification or a call binds its ids,
and every line until then carries them.

Trouble that repeats itself is held back: of a warning or an error for one reason, in one call or on one channel, so
many lines a minute are written, and of the rest one line says how many there were. What says that somebody did
something is always written."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import structlog

from crown import backtrace, metrics, tracing

# Of one warning or error for one reason in one place, lines in each minute.
A_MINUTE = 20
_WINDOW_S = 60.0
_TELL_S = 10.0
# Reasons are words, and few; should one of them not be, the table does not grow for ever.
_KEYS_MOST = 1_000

Line = MutableMapping[str, Any]
# Hears of every line that has an exception, before it is written.
Report = Callable[[Line], None]

_TROUBLE = {"warning", "error"}
_NOTHING: Mapping[str, str] = MappingProxyType({})
_bound: ContextVar[Mapping[str, str]] = ContextVar("log", default=_NOTHING)
_is_set_up = False


def bind(**ids: str) -> None:
    """Every line of this task carries `ids` from now on, with the id of its trace; and no longer those that are
    empty."""
    _bound.set({name: text for name, text in {**_bound.get(), **ids}.items() if text})


def set_up(service: str, level: str = "INFO", report: Report | None = None) -> None:
    """Makes every log line of this process JSON, named for `service`. Lines with an exception are told to `report`
    as well."""
    global _is_set_up
    threshold = logging.getLevelNamesMapping()[level]

    def named(_logger: object, method: str, line: Line) -> Line:
        line["service"] = service
        line["level"] = method
        return line

    def reported(_logger: object, method: str, line: Line) -> Line:
        if report is not None and method == "error" and line.get("exc_info"):
            report(line)
        return line

    structlog.configure(
        processors=[
            named,
            with_ids,
            _counted,
            repeats.hold_back,
            reported,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            without_text,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
    )
    _is_set_up = True


def get(name: str) -> Any:
    """The logger of module `name`."""
    return _Logger(name)


class _Logger:
    """structlog's logger, found once and not at every line."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, method: str) -> Any:
        found = getattr(structlog.get_logger(module=self._module).bind(), method)
        # Before `set_up` it may still become another one.
        if _is_set_up:
            setattr(self, method, found)
        return found


class Repeats:
    """Which lines are held back, and how many there were."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = A_MINUTE) -> None:
        self._clock = clock
        self._most = most
        self._windows: dict[_Key, _Window] = {}

    def hold_back(self, _logger: object, method: str, line: Line) -> Line:
        """`line`, with `repeated` where some like it were held back. Raises DropEvent where it is held back."""
        if method not in _TROUBLE or "repeated" in line:
            return line
        key, moment = self._key(line), self._clock()
        window = self._windows.get(key)
        if window is None or moment >= window.end:
            self._windows[key] = _Window(moment + _WINDOW_S)
            if window is not None and window.held:
                line["repeated"] = window.held
            return line
        window.seen += 1
        if window.seen <= self._most:
            return line
        window.held += 1
        if window.held == 1:
            named = (("reason", key.reason), ("place", key.place))
            window.told = {"event": key.event, "module": line.get("module", ""), "level": method}
            window.told.update((name, text) for name, text in named if text)
        raise structlog.DropEvent

    def over(self) -> list[Line]:
        """A line for each kind of line of which some were held back in a minute that is over. They are told once."""
        moment = self._clock()
        found: list[Line] = []
        for key, window in list(self._windows.items()):
            if moment >= window.end:
                del self._windows[key]
                found += [{**window.told, "repeated": window.held}] if window.held else []
        return found

    def end(self) -> None:
        """Ends every minute."""
        for window in self._windows.values():
            window.end = self._clock()

    def _key(self, line: Line) -> _Key:
        reason = line.get("reason") or line.get("error") or line.get("why") or ""
        if not reason and (error := _error(line)) is not None:
            reason = type(error).__name__
        # The same bug in another call is another one.
        place = line.get("method") or line.get("channel") or line.get("where") or ""
        key = _Key(str(line["event"]), str(reason), str(place))
        return key if key in self._windows or len(self._windows) < _KEYS_MOST else _Key(key.event, "", "")


class _Key(NamedTuple):
    event: str
    reason: str
    place: str


class _Window:
    __slots__ = ("end", "held", "seen", "told")

    def __init__(self, end: float) -> None:
        self.end = end
        self.seen = 1
        self.held = 0
        self.told: dict[str, Any] = {}


repeats = Repeats()


@contextmanager
def repeats_told() -> Iterator[None]:
    """Tells while the block runs, and when it ends, how many lines were held back."""
    task = asyncio.create_task(_tell_repeats(), name="repeats")
    try:
        yield
    finally:
        task.cancel()
        repeats.end()
        _tell()


async def _tell_repeats() -> None:
    while True:
        await asyncio.sleep(_TELL_S)
        _tell()


def _tell() -> None:
    for line in repeats.over():
        # Whatever counts lines has counted these.
        module, level = line.pop("module"), line.pop("level")
        getattr(structlog.get_logger(module=module).bind(), level)(**line)


def with_ids(_logger: object, _method: str, line: Line) -> Line:
    """`line` with what is bound."""
    if ids := _bound.get():
        for name, text in ids.items():
            line.setdefault(name, text)
        line["trace_id"] = tracing.current()[3:35]
    return line


def _counted(_logger: object, method: str, line: Line) -> Line:
    if method in _TROUBLE and "repeated" not in line:
        metrics.problems(method, line["event"]).inc()
    return line


def without_text(_logger: object, _method: str, line: Line) -> Line:
    """`line` with its exception as `exception`: where it was, and not what it says."""
    if (error := _error(line)) is not None:
        line["exception"] = backtrace.told(error)
    line.pop("exc_info", None)
    return line


def _error(line: Line) -> BaseException | None:
    match line.get("exc_info"):
        case BaseException() as error:
            return error
        case (_, BaseException() as error, _):
            return error
        case None | False:
            return None
        case _:
            return sys.exception()


def _plain(value: object) -> str:
    # Who logs an exception as a value means its kind.
    return backtrace.name(type(value)) if isinstance(value, BaseException) else str(value)


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def _render(_logger: object, _name: str, event: Any) -> bytes:
    return _ENCODER.encode(event)
