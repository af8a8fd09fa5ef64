"""Writes docs/limits.md: how much of what is taken, each bound read from where it is enforced. With --check it
compares instead, and fails where the page is not what the code gives."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.message import Message

from buf.validate import validate_pb2
from crown import safe_json, validation
from crown.door import Limits as Door
from crown.notification.v1.ingest_service_pb2 import (
    SendBulkNotificationsRequest,
    SendNotificationRequest,
    StreamNotificationsRequest,
)
from crown.notification.v1.notification_pb2 import NotificationData
from gateway import render
from services.email.templates import compiled
from services.ingest.intake import accept, service
from services.push.fcm import message as fcm
from services.push.web_push import crypto
from services.realtime import longpoll, publish, sessions, socket, websocket
from services.realtime.handshake import TOKEN_MOST_CHARS
from services.realtime.limits import Limits as Realtime
from tools.made import keep

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "limits.md"
_HEAD = """\
# Limits

What is larger, more or later than this is refused, in the one shape of [errors.md](errors.md), or the connection is
closed with a code of [realtime.md](realtime.md); nothing of it is kept. Each figure is read from where it is
enforced: this page is made by `python -m tools.limits_page`. What a variable sets stands in
[settings.md](settings.md). `tests/trust/test_limits.py` tries each of its rows one below, at and one above the
figure, by REST and by gRPC where there are both; the others, which take time or thousands, have tests of their own.
"""
# What tries each limit one below, at, and one above. What it cannot try names a test of its own.
TRIED = "tests/trust/test_limits.py"
_LARGE = "413 `PAYLOAD_TOO_LARGE`"
_HTTP2 = "tests/integration/gateway/test_http2.py"
_SLOW = (
    "tests/integration/gateway/test_slow_clients.py::test_who_sends_a_byte_a_second_is_given_up_and_told_so"
)
_OPEN = "tests/integration/gateway/test_open_calls.py"
# What is asked by gRPC and needs no token.
_OF_GRPC = ("`/grpc.health.v1.Health/Check`", "`/crown.notification.v1.StatusService/`")
_NODE = "tests/integration/realtime/test_limits.py"
_POLL = "tests/unit/services/realtime/test_longpoll.py"


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: what, how much, who enforces it, what is answered, and which test tries it; `size` is what is still
    taken, where TRIED tries that."""

    what: str
    most: str
    where: str
    answer: str
    size: int = 0
    test: str = TRIED


def sections() -> dict[str, list[Limit]]:
    """Every limit, below the titles of the page."""
    return {
        "Requests": list(_requests()),
        "Notifications": list(_notifications()),
        "Sockets": list(_sockets()),
    }


def page() -> str:
    """The text of the page."""
    parts = [_HEAD]
    for title, rows in sections().items():
        parts += [
            f"\n## {title}\n\n| what | at most | where | answer | tried by |\n| --- | --- | --- | --- | --- |\n"
        ]
        parts += [
            f"| {row.what} | {row.most} | {row.where} | {row.answer} | `{row.test}` |\n" for row in rows
        ]
    return "".join(parts)


def _requests() -> Iterator[Limit]:
    written = yaml.safe_load((ROOT / "gateway" / "envoy.yaml").read_text(encoding="utf-8"))
    (chain,) = written["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    door = Door()
    for path, size in _bodies(manager):
        # Of a message that comes as one frame the gateway keeps nothing, and lets it pass: that of the door is exact.
        if path not in _OF_GRPC:
            yield Limit(f"body of {path}", _bytes(size), "gateway", _LARGE, size)
    refused = "`RESOURCE_EXHAUSTED`, `PAYLOAD_TOO_LARGE`"
    yield Limit("a gRPC message", _bytes(door.usual), "door", refused, door.usual)
    for method, size in door.by_method[:3]:
        test = (
            "tests/unit/crown/test_door.py::test_a_request_may_be_as_large_as_its_limit_and_no_larger"
            if method == "FilterNotifications"
            else TRIED
        )
        yield Limit(f"a message of {method}", _bytes(size), "door", "the same", size, test)
    headers = manager["max_request_headers_kb"] << 10
    yield Limit("headers, with the path", _bytes(headers), "gateway", "431", headers)
    count = manager["common_http_protocol_options"]["max_headers_count"]
    yield Limit("headers of a request", f"{count}", "gateway", "431", count)
    slow = manager["request_headers_timeout"]
    yield Limit("time for the headers", slow, "gateway", "408, or hung up", test=_SLOW)
    streams = manager["http2_protocol_options"]["max_concurrent_streams"]
    many = f"{_HTTP2}::test_who_asks_for_very_much_at_once_is_answered_a_thousand_at_a_time"
    yield Limit(
        "calls at once on one HTTP/2 connection",
        f"{streams:,}",
        "gateway",
        "the stream is refused",
        test=many,
    )
    for path, longest in _times(manager):
        if path in _OF_GRPC:
            soon = f"{_OPEN}::test_what_never_comes_whole_takes_no_place_and_is_given_up_soon"
            yield Limit(
                f"time of a call of {path}",
                longest,
                "gateway",
                "`DEADLINE_EXCEEDED`, `DEADLINE_TOO_SHORT`",
                test=soon,
            )
            continue
        yield Limit(
            f"time of {path}, its body included",
            longest,
            "gateway",
            "408, or 504 once it is there",
            test=_SLOW,
        )
    often = {
        "open": (
            "calls of an address that need no token",
            "test_an_address_has_so_many_calls_and_others_have_theirs",
        ),
        "callback": ("calls of an address to what providers call", "test_providers_have_more"),
    }
    for kind, (what, test) in often.items():
        rate = written["x-rates"][kind]["rate"]
        most = f"{rate:,} a second, {render.BURST_S * rate:,} at once"
        yield Limit(what, most, "gateway", "429 `RATE_LIMITED`", test=f"{_OPEN}::{test}")
    yield Limit(
        "time of a call by gRPC, its message included", "15 s", "gateway, and the door by `grpc-timeout`",
        "504, `DEADLINE_EXCEEDED`",
        test="tests/trust/test_hostile.py::test_a_message_that_never_comes_is_waited_for_until_the_deadline",
    )  # fmt: skip


def _bodies(manager: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """(what, bytes) of each route that buffers."""
    (host,) = manager["route_config"]["virtual_hosts"]
    for route in host["routes"]:
        buffer = route.get("typed_per_filter_config", {}).get("envoy.filters.http.buffer", {}).get("buffer")
        if buffer:
            yield _path(route), int(buffer["max_request_bytes"])


def _times(manager: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(what, how long) of each route that buffers."""
    (host,) = manager["route_config"]["virtual_hosts"]
    for route in host["routes"]:
        if "envoy.filters.http.buffer" in route.get("typed_per_filter_config", {}):
            longest = route["route"]["max_stream_duration"]["max_stream_duration"]
            yield _path(route), f"{longest.removesuffix('s')} s"


def _path(route: Mapping[str, Any]) -> str:
    """What a reader calls the path of a route."""
    match = route["match"]
    named = match.get("path") or match.get("prefix") or match["safe_regex"]["regex"]
    words = {
        "${paths}": "any other path",
        "/unsubscribe/[^/]+": "`/unsubscribe/…`",
        "/webhooks/": "`/webhooks/…`",
    }
    return words.get(named, f"`{named}`")


def _notifications() -> Iterator[Limit]:
    one, data = _rules(SendNotificationRequest()), _rules(NotificationData())
    bulk, stream = _rules(SendBulkNotificationsRequest()), _rules(StreamNotificationsRequest())
    refused = "400 `INVALID_REQUEST`, naming the field"

    def row(what: str, size: int, unit: str = "", where: str = "rule in the proto") -> Limit:
        most = _bytes(size) if unit == "bytes" else f"{size:,} {unit}".strip()
        return Limit(what, most, where, refused, size)

    yield row("`title`", data["title"].string.max_len, "characters")
    yield row("`message`", data["message"].string.max_len, "characters")
    yield row("`action_url`", data["action_url"].string.max_len, "characters")
    yield row("`image_url`", data["image_url"].string.max_len, "characters")
    yield row("`data`", accept.DATA_MOST_BYTES, "bytes", "`services/ingest/intake`")
    yield row("levels of free-form parts", validation.DEPTH_MOST, where="`crown/validation.py`")
    yield row("`user_ids`", one["user_ids"].repeated.max_items)
    yield row("`group_ids`", one["group_ids"].repeated.max_items)
    yield row("notifications of a bulk", bulk["notifications"].repeated.max_items)
    yield row("people of a bulk", service.RECIPIENTS_MOST, where="`services/ingest/intake`")
    yield row("items of one message of a stream", stream["items"].repeated.max_items)
    yield Limit(
        "push, as the provider gets it",
        f"{_bytes(fcm.PAYLOAD_MOST_BYTES)}; {_bytes(crypto.BODY_MOST_BYTES)} to a browser",
        "`services/push`", "made shorter, see [push.md](push.md)",
        test="tests/unit/services/push/test_shortening.py::test_no_more_than_needed",
    )  # fmt: skip
    yield Limit(
        "each part of a mail, once rendered", _bytes(compiled.PART_MOST_BYTES), "`services/email/templates`",
        "the delivery fails",
        test="tests/unit/services/email/templates/test_sandbox.py::test_what_it_says_is_bounded",
    )  # fmt: skip


def _rules(message: Message) -> dict[str, Any]:
    """The rules in the proto of each field."""
    return {f.name: f.GetOptions().Extensions[validate_pb2.field] for f in message.DESCRIPTOR.fields}


def _sockets() -> Iterator[Limit]:
    limits = Realtime()
    whole, told = websocket.MESSAGE_MOST_BYTES, publish.PAYLOAD_MOST_BYTES
    yield Limit("a message, in one frame or fragments", _bytes(whole), "socket", "1009", whole)
    parts = websocket.FRAGMENTS_MOST
    yield Limit("fragments of a message", f"{parts:,}", "socket", "1009", parts)
    yield Limit(
        "what waits for who does not read", _bytes(websocket.QUEUE_MOST_BYTES), "socket", "3008",
        test=f"{_NODE}::test_those_who_do_not_read_cost_a_bounded_part_and_delay_nobody",
    )  # fmt: skip
    yield Limit(
        "frames of a client", f"{limits.message_rate} a second, {limits.message_burst} at once", "socket", "3013",
        test=f"{_NODE}::test_who_says_too_much_is_closed_with_3013",
    )  # fmt: skip
    topics = socket.CHANNELS_MOST
    yield Limit("topics of a connection", f"{topics}", "socket", "the join is refused", topics)
    ref, name = socket.REF_MOST_BYTES, socket.NAME_MOST_CHARS
    yield Limit("a ref, as it is written", _bytes(ref), "socket", "1011", ref)
    yield Limit("a topic", f"{name:,} characters", "socket", "1011", name)
    yield Limit("an event", f"{name:,} characters", "socket", "1011", name)
    yield Limit(
        "JSON that a client sends along", _bytes(safe_json.SIZE_MOST_BYTES), "socket", "an error reply",
        test="tests/unit/crown/test_safe_json.py::test_the_bound_is_the_callers",
    )  # fmt: skip
    yield Limit("what is told the others on a topic", _bytes(told), "socket, gRPC", "an error reply", told)
    yield Limit(
        "a token", f"{TOKEN_MOST_CHARS:,} characters", "handshake", "403",
        test="tests/unit/services/realtime/test_handshake.py::test_bad_requests",
    )  # fmt: skip
    yield Limit("connections of a person", f"{limits.per_user}", "all processes", "3504", limits.per_user)
    yield Limit(
        "connections of an address", f"{limits.per_address:,}", "each process", "429",
        test=f"{_NODE}::test_an_address_has_so_many_connections_and_others_have_theirs",
    )  # fmt: skip
    yield Limit(
        "handshakes", f"{limits.accept_rate:,} a second", "each process", "503",
        test=f"{_NODE}::test_handshakes_come_so_fast_and_no_faster",
    )  # fmt: skip
    body, frames = longpoll.BODY_MOST_BYTES, longpoll.FRAMES_MOST
    yield Limit("body of a poll", _bytes(body), "process", "413", body)
    yield Limit("frames of a poll", f"{frames}", "process", "413 in the body", frames)
    yield Limit(
        "sessions that poll", f"{sessions.SESSIONS_MOST:,}", "each process", "503",
        test=f"{_POLL}::test_where_there_are_too_many_it_is_to_come_later",
    )  # fmt: skip


def _bytes(size: int) -> str:
    for unit, step in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= step and size % step == 0:
            return f"{size // step} {unit}"
    return f"{size:,} bytes"


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it."""
    return keep({PAGE: page()}, "the code", "tools.limits_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
