"""Live events as sockets and streams show them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.struct_pb2 import Struct

from crown import vault
from crown.live_position import Position, epoch
from crown.notification.v1 import events_pb2
from services.realtime.live import Unreadable, plain, read

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Position(7, "e1")


def event(key: vault.Key, name: str, content: bytes) -> bytes:
    """A live event with any content."""
    found = events_pb2.LiveEvent(user_id="ann", event=name, content=vault.seal(key, content))
    return found.SerializeToString()


def test_a_notification(data_key: vault.Key, sealed: Callable[..., bytes]) -> None:
    live = read(data_key, sealed(title="t", message="m"), HERE)
    assert live.payload == {
        "notification_id": "n1",
        "type": "REAL_TIME",
        "kind": "comment",
        "category": "SOCIAL",
        "data": {"title": "t", "message": "m", "action_url": "", "image_url": "", "extra": {}},
        "create_time": "2026-11-22T10:00:00Z",
        "offset": 7,
        "epoch": "e1",
    }
    response = live.response()
    assert (response.offset, response.epoch, response.event) == (7, "e1", "notification")
    assert response.notification.data.message == "m"


def test_another_event(data_key: vault.Key) -> None:
    live = read(data_key, event(data_key, "score", b'{"goals":3}'), HERE)
    assert live.payload == {"goals": 3, "offset": 7, "epoch": "e1"}
    assert live.response().payload["goals"] == 3


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_content_that_is_no_object(data_key: vault.Key, content: bytes) -> None:
    live = read(data_key, event(data_key, "typing", content), HERE)
    with pytest.raises(Unreadable):
        _ = live.payload
    with pytest.raises(Unreadable):
        live.response()


def test_content_under_another_key(data_key: vault.Key, sealed: Callable[..., bytes]) -> None:
    with pytest.raises(Unreadable):
        read(vault.Key.fresh(), sealed(), HERE)


@pytest.mark.parametrize(
    "value",
    [{}, {"a": 1, "b": -2.5, "c": None, "d": True, "e": "x"}, {"l": [1, [2, {"m": []}]]}, {"big": 1e300}],
)
def test_plain_values(value: dict[str, Any]) -> None:
    struct = Struct()
    struct.update(value)
    assert plain(struct) == value


def test_whole_numbers_are_integers() -> None:
    struct = Struct()
    struct.update({"n": 3.0, "large": 2.0**60})
    assert {name: type(value) for name, value in plain(struct).items()} == {"n": int, "large": float}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks(number: float) -> None:
    struct = Struct()
    struct.fields["n"].number_value = number
    with pytest.raises(ValueError, match="finite"):
        plain(struct)


def test_an_epoch_ends_with_the_run_of_a_single_server_and_not_with_that_of_one_of_several() -> None:
    assert epoch("2026", "A", 1) != epoch("2026", "B", 1)
    assert epoch("2026", "A", 3) == epoch("2026", "B", 3)
    assert epoch("2026", "A", 3) != epoch("2027", "A", 3)
    assert len(epoch("2026", "A", 1)) == 12
