"""Reports errors to Sentry, or to what speaks its protocol, where CROWN_SENTRY_DSN names one: each line of the log
that has a traceback, unless it was held back as repeated. What is sent is the type of the exception, where it was,
the event's name, and the ids that find the rest in our logs. No message of an exception, no value of a variable, no
request: any of them may have an address or content in it. Without a DSN the SDK is not even loaded."""

from __future__ import annotations

import sys
from typing import Any

from crown import __version__
from crown.logs import Line, Report

# Seconds that what is still to be sent gets when the process ends.
FLUSH_S = 2.0
# Of a line, what says nothing about people.
_TAGS = (
    "module",
    "method",
    "channel",
    "provider",
    "notification_id",
    "delivery_id",
    "request_id",
    "trace_id",
)

_in_use = False


def reporter(service: str, dsn: str) -> Report | None:
    """What tells Sentry of lines; None where `dsn` is empty."""
    global _in_use
    if not dsn:
        return None
    # Late: it takes a while to load, and most do without.
    import sentry_sdk

    sentry_sdk.init(
        dsn=dsn,
        release=f"crown@{__version__}",
        server_name=service,
        before_send=_without_content,
        # Its integrations listen to libraries, and hear bodies, queries and addresses.
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        send_client_reports=False,
        send_default_pii=False,
        include_local_variables=False,
        include_source_context=False,
        max_breadcrumbs=0,
        max_request_body_size="never",
        shutdown_timeout=FLUSH_S,
    )
    _in_use = True
    return _report


def flush() -> None:
    """Waits for what is still to be sent; not for long."""
    if _in_use:
        import sentry_sdk

        sentry_sdk.flush(FLUSH_S)


def _report(line: Line) -> None:
    import sentry_sdk

    found = line["exc_info"]
    error = found if isinstance(found, BaseException) else sys.exception()
    if error is None:
        return
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("event", line["event"])
        for name in _TAGS:
            if name in line:
                scope.set_tag(name, str(line[name]))
        scope.capture_exception(error)


def _without_content(event: Any, hint: dict[str, Any]) -> Any:
    del hint
    for name in ("request", "user", "extra", "breadcrumbs", "modules", "message", "logentry", "contexts"):
        event.pop(name, None)
    for exception in event.get("exception", {}).get("values", ()):
        exception["value"] = event["tags"]["event"]
        for frame in exception.get("stacktrace", {}).get("frames", ()):
            for name in ("vars", "pre_context", "context_line", "post_context", "abs_path"):
                frame.pop(name, None)
    return event
