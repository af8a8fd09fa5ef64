"""What the HTTP handlers of sandbox and mailbox share: JSON out, query parameters in, one shape of error."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from aiohttp import web

from stack.strict import Fault, Violation


def json_reply(body: object, status: int = 200) -> web.Response:
    """`body` as JSON."""
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")


def wrong_reply(wrong: Violation) -> web.Response:
    """400 that names the field or parameter."""
    return json_reply({"error": str(wrong), "field": wrong.field}, 400)


def check_names(asked: Collection[str], known: Collection[str]) -> None:
    """Raises Violation for a query parameter that there is not."""
    for name in asked:
        if name not in known:
            raise Violation(Fault.UNKNOWN, (name,), f"unknown parameter; there are {', '.join(known)}")


def whole_number(asked: Mapping[str, str], name: str, default: int, highest: int) -> int:
    """The parameter, or `default` where there is none. Raises Violation unless it is from 0 to `highest`."""
    text = asked.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 18 and int(text) <= highest):
        raise Violation(Fault.VALUE, (name,), f"must be a whole number from 0 to {highest}")
    return int(text)
