"""The text of server-sent events, and the ids by which a browser comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from crown.errors import NotReady
from crown.live_position import Position
from services.realtime import sse
from services.realtime.live import Ephemeral, Resync, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from crown import vault


def test_an_event_is_three_lines_and_a_blank_one() -> None:
    text = sse.frame("hello", {"a": "one\ntwo\r\u2028"}, Position(7, "e1"))
    head, name, data, *rest = text.decode().split("\n")
    assert (head, name, rest) == ("id: e1.7", "event: hello", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {"a": "one\ntwo\r\u2028"}
    assert b"\r" not in text


def test_an_id_leads_back_to_its_place() -> None:
    head = sse.frame("x", {}, Position(7, "0a1b2c3d4e5f")).decode().split("\n")[0]
    assert sse.position(head.removeprefix("id: ")) == Position(7, "0a1b2c3d4e5f")


@pytest.mark.parametrize(
    "text",
    ["", "7", "e1", "e1.", ".7", "e1.-7", "e1.7.8", "e1.7 ", "E1.7", "e1.\u0667", "e1." + "9" * 30, "\x00"],
)
def test_what_is_no_id_names_no_place(text: str) -> None:
    assert sse.position(text) is None


def test_events_become_text(data_key: vault.Key, sealed: Callable[..., bytes]) -> None:
    form = sse.Frames()
    event = read(data_key, sealed(1), Position(7, "e"))
    live = form.encode("user:ann", event)
    raw = form.encode("user:ann", Ephemeral("typed", msgspec.Raw(b'{"a": 1}')))
    (first, second, third) = form.together([live, raw, form.encode("user:ann", Resync(Position(9, "e")))])
    # The same payload as on the socket.
    assert first == b"id: e.7\nevent: notification\ndata: " + msgspec.json.encode(event.payload) + b"\n\n"
    # Nobody comes back to what nobody gets again.
    assert second == b'event: typed\ndata: {"a": 1}\n\n'
    assert third is None


def test_an_end_has_the_one_shape() -> None:
    name, data, *rest = sse.failure(NotReady("going"), "r1").decode().split("\n")
    assert (name, rest) == ("event: error", ["", ""])
    error = json.loads(data.removeprefix("data: "))
    assert (error["code"], error["message"], error["details"][0]["reason"]) == (14, "going", "NOT_READY")
    assert error["details"][-1]["request_id"] == "r1"


def test_much_is_sent_in_several_messages() -> None:
    texts = [bytes([65 + number]) * 30_000 for number in range(5)]
    parts = list(sse.chunks(texts))
    assert [len(part) for part in parts] == [90_000, 60_000]
    assert b"".join(parts) == b"".join(texts)
    assert list(sse.chunks([])) == []
