"""Logs: one JSON line an event, on standard output. Addresses and content are never logged."""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import structlog

_ENCODER = msgspec.json.Encoder(enc_hook=str)
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


def _render(_logger: object, _name: str, event: Any) -> bytes:
    return _ENCODER.encode(event)


def set_up(service: str, level: str = "INFO") -> None:
    """Makes every log line of this process JSON, named for `service`."""
    threshold = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s", force=True
    )
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)


def get(name: str) -> Any:
    """The logger of module `name`."""
    return structlog.get_logger(module=name)
