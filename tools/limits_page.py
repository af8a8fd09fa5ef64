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
[settings.md](settings.md).
"""
_FRAME_TESTS = "`tests/integration/realtime/test_protocol.py`"
_JSON_TESTS = "`tests/e2e/test_bad_json.py`"
_GRPC_TESTS = "`tests/e2e/test_bad_grpc.py`"
_GATEWAY_TESTS = "`tests/integration/gateway/test_limits.py`"


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: what, how much, who enforces it, what is answered, and which tests try it."""

    what: str
    most: str
    where: str
    answer: str
    tests: str


def page() -> str:
    """The text of the page."""
    parts = [_HEAD]
    for title, rows in (
        ("Requests", _requests()),
        ("Notifications", _notifications()),
        ("Sockets", _sockets()),
    ):
        parts += [
            f"\n## {title}\n\n| what | at most | where | answer | tried in |\n| --- | --- | --- | --- | --- |\n"
        ]
        parts += [f"| {row.what} | {row.most} | {row.where} | {row.answer} | {row.tests} |\n" for row in rows]
    return "".join(parts)


def _requests() -> Iterator[Limit]:
    written = yaml.safe_load((ROOT / "gateway" / "envoy.yaml").read_text(encoding="utf-8"))
    (chain,) = written["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    bodies = dict(_bodies(manager))
    door = Door()
    large = "413 `PAYLOAD_TOO_LARGE`"
    for path, size in bodies.items():
        tests = "`tests/integration/gateway/test_mail_links.py`" if "unsub" in path else _GATEWAY_TESTS
        yield Limit(f"body of {path}", _bytes(size), "gateway", large, tests)
    yield Limit(
        "a gRPC message", _bytes(door.usual), "door", "`RESOURCE_EXHAUSTED`, `PAYLOAD_TOO_LARGE`", _GRPC_TESTS
    )
    for method, size in door.by_method[:3]:
        yield Limit(f"a message of {method}", _bytes(size), "door", "the same", _GRPC_TESTS)
    headers = manager["max_request_headers_kb"] << 10
    count = manager["common_http_protocol_options"]["max_headers_count"]
    yield Limit(
        "headers, with the path", f"{_bytes(headers)}, {count} of them", "gateway", "431", _GATEWAY_TESTS
    )
    slow = manager["request_headers_timeout"]
    http2 = "`tests/integration/gateway/test_http2.py`"
    yield Limit("time for the headers", slow, "gateway", "408, or hung up", http2)
    streams = manager["http2_protocol_options"]["max_concurrent_streams"]
    yield Limit(
        "calls at once on one HTTP/2 connection", f"{streams:,}", "gateway", "the stream is refused", http2
    )
    slow_tests = "`tests/integration/gateway/test_slow_clients.py`"
    for path, longest in _times(manager):
        yield Limit(
            f"time of {path}, its body included",
            longest,
            "gateway",
            "408, or 504 once it is there",
            slow_tests,
        )
    yield Limit(
        "time of a call by gRPC, its message included", "15 s", "gateway, and the door by `grpc-timeout`",
        "504, `DEADLINE_EXCEEDED`", "`tests/trust/test_hostile.py`",
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
    tests = "`tests/e2e/test_requests.py`"

    def row(
        what: str, most: str, where: str = "rule in the proto", answer: str = refused, tried: str = tests
    ) -> Limit:
        return Limit(what, most, where, answer, tried)

    yield row("`title`", f"{data['title'].string.max_len} characters")
    yield row("`message`", f"{data['message'].string.max_len:,} characters")
    yield row("`action_url`, `image_url`", f"{data['action_url'].string.max_len:,} characters")
    yield row("`data`", _bytes(accept.DATA_MOST_BYTES), "`services/ingest/intake`")
    yield row(
        "levels of free-form parts", str(validation.DEPTH_MOST), "`crown/validation.py`", tried=_JSON_TESTS
    )
    yield row("`user_ids`", f"{one['user_ids'].repeated.max_items:,}", tried=_GRPC_TESTS)
    yield row("`group_ids`", f"{one['group_ids'].repeated.max_items}")
    yield row("notifications of a bulk", f"{bulk['notifications'].repeated.max_items:,}")
    yield row("people of a bulk", f"{service.RECIPIENTS_MOST:,}", "`services/ingest/intake`")
    yield row(
        "items of one message of a stream", f"{stream['items'].repeated.max_items}",
        tried="`tests/integration/ingest/test_stream.py`",
    )  # fmt: skip
    yield row(
        "push, as the provider gets it",
        f"{_bytes(fcm.PAYLOAD_MOST_BYTES)}; {_bytes(crypto.BODY_MOST_BYTES)} to a browser",
        "`services/push`", "made shorter, see [push.md](push.md)", "`tests/unit/services/push/test_shortening.py`",
    )  # fmt: skip
    yield row(
        "each part of a mail, once rendered", _bytes(compiled.PART_MOST_BYTES), "`services/email/templates`",
        "the delivery fails", "`tests/unit/services/email/templates/test_sandbox.py`",
    )  # fmt: skip


def _rules(message: Message) -> dict[str, Any]:
    """The rules in the proto of each field."""
    return {f.name: f.GetOptions().Extensions[validate_pb2.field] for f in message.DESCRIPTOR.fields}


def _sockets() -> Iterator[Limit]:
    limits = Realtime()
    rules, unit = (
        "`tests/integration/realtime/test_limits.py`",
        "`tests/unit/services/realtime/test_socket.py`",
    )
    yield Limit(
        "a message, in one frame or fragments",
        _bytes(websocket.MESSAGE_MOST_BYTES),
        "socket",
        "1009",
        _FRAME_TESTS,
    )
    yield Limit("fragments of a message", f"{websocket.FRAGMENTS_MOST:,}", "socket", "1009", rules)
    yield Limit(
        "what waits for who does not read", _bytes(websocket.QUEUE_MOST_BYTES), "socket", "3008", rules
    )
    yield Limit(
        "frames of a client",
        f"{limits.message_rate} a second, {limits.message_burst} at once",
        "socket",
        "3013",
        rules,
    )
    yield Limit("topics of a connection", f"{socket.CHANNELS_MOST}", "socket", "the join is refused", unit)
    yield Limit("a ref", _bytes(socket.REF_MOST_BYTES), "socket", "1011", rules)
    yield Limit("a topic, an event", f"{socket.NAME_MOST_CHARS:,} characters", "socket", "1011", rules)
    yield Limit("JSON that a client sends along", _bytes(safe_json.SIZE_MOST_BYTES), "socket", "an error reply",
        "`tests/unit/crown/test_safe_json.py`")  # fmt: skip
    yield Limit("what is told the others on a topic", _bytes(publish.PAYLOAD_MOST_BYTES), "socket, gRPC",
        "an error reply",
        "`tests/unit/services/realtime/test_service.py`")  # fmt: skip
    yield Limit(
        "a token",
        f"{TOKEN_MOST_CHARS:,} characters",
        "handshake",
        "403",
        "`tests/unit/services/realtime/test_handshake.py`",
    )
    yield Limit("connections of a person", f"{limits.per_user}", "all processes", "3504", rules)
    yield Limit("connections of an address", f"{limits.per_address:,}", "each process", "429", rules)
    yield Limit("handshakes", f"{limits.accept_rate:,} a second", "each process", "503", rules)
    polls = "`tests/unit/services/realtime/test_longpoll.py`"
    yield Limit("body of a poll", _bytes(longpoll.BODY_MOST_BYTES), "gateway, and the process", "413", polls)
    yield Limit("frames of a poll", f"{longpoll.FRAMES_MOST}", "process", "413 in the body", polls)
    yield Limit("sessions that poll", f"{sessions.SESSIONS_MOST:,}", "each process", "503", polls)


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
