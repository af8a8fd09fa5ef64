"""What our own code does not log itself: exceptions that nobody caught, in a thread, in the event loop or while an
object was taken away, Python's warnings, and what libraries log. All of it becomes lines like ours (docs/logs.md),
and none of it keeps the text: that may have an address or content in it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings
from types import FrameType
from typing import Any, TextIO

from crown import backtrace, logs

log = logs.get(__name__)

# These log what they send, headers and all, at INFO or DEBUG.
_TALKATIVE = (
    "twilio",
    "sendgrid",
    "python_http_client",
    "urllib3",
    "httpx",
    "google",
    "nats",
    "aiohttp.access",
)
# Of what the loop tells in words, those that have no value in them and say more than the exception's place.
_LOOP_WORDS = {
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Task was destroyed but it is pending!",
}


def hear() -> None:
    """From now on all of it in this process is logged; for the event loop see `hear_loop`."""
    root = logging.getLogger()
    root.handlers[:] = [_LibraryLines()]
    root.setLevel(logging.WARNING)
    # A line that cannot be logged would be printed with all that was to stand in it.
    logging.raiseExceptions = False
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_failed
    warnings.showwarning = _warned


def hear_loop() -> None:
    """The same for what the running loop is told that nobody waits for."""
    asyncio.get_running_loop().set_exception_handler(loop_told)


def loop_told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler."""
    del loop
    words = context.get("message")
    log.error(
        "loop_failed",
        what=words if words in _LOOP_WORDS else "",
        work=_work(context),
        exc_info=context.get("exception"),
    )


def _work(context: dict[str, Any]) -> str:
    """The function that the loop ran, without what it was called with."""
    task = context.get("task") or context.get("future")
    if isinstance(task, asyncio.Task):
        return getattr(task.get_coro(), "__qualname__", "")
    # A handle shows its callback only with its arguments; a transport or protocol has a type.
    found = context.get("protocol") or context.get("transport")
    return "" if found is None else backtrace.name(type(found))


class _LibraryLines(logging.Handler):
    """What libraries log, as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        told: dict[str, Any] = {
            "library": record.name,
            "where": backtrace.place(record.pathname, record.lineno, record.funcName),
            "words": _words(record),
            "exc_info": record.exc_info,
        }
        if record.levelno >= logging.ERROR:
            log.error("library_error", **told)
        else:
            log.warning("library_warning", **told)


def _words(record: logging.LogRecord) -> str:
    """The words of a line as they stand in the library's code, with %s for each value; empty where they do not stand
    there as a whole, since a value may be among them then."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and (frame.f_code.co_filename, frame.f_lineno) != (
        record.pathname,
        record.lineno,
    ):
        frame = frame.f_back
    return record.msg if frame is not None and record.msg in frame.f_code.co_consts else ""


def _uncaught(_kind: type[BaseException], error: BaseException, _trace: object) -> None:
    log.error("uncaught", exc_info=error)


def _thread_failed(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and not isinstance(told.exc_value, SystemExit):
        log.error("thread_failed", exc_info=told.exc_value)


def _unraisable(told: Any) -> None:
    # The object itself would tell what it holds.
    log.error("unraisable", what=backtrace.name(type(told.object)), exc_info=told.exc_value)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del message, file, line
    log.warning("python_warning", reason=category.__name__, where=backtrace.place(filename, lineno, ""))
