"""Strict JSON, and paths that lead to values and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from services.realtime.relay.document import ABSENT, Event, Path, Undecodable, decode, text_of


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"goal",
        b'{"a": 1',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'"\xff"',
        rb'"\ud800"',
        b"[" * 100_000,
        b"1" * 5_000,
        b"{} {}",
    ],
    ids=lambda message: repr(message[:12]),
)
def test_what_is_no_json_is_undecodable(message: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(message)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("match.id", 7),
        ("match", {"id": 7}),
        ("fans.1.name", "Bo"),
        ("fans.2.name", ABSENT),
        ("fans.-1", ABSENT),
        ("match.id.real", ABSENT),
        ("match.__class__", ABSENT),
        ("nothing.there", ABSENT),
        ("null", None),
        ("each.name", "in the document"),
    ],
)
def test_a_path_finds_values(path: str, found: Any) -> None:
    document = {
        "match": {"id": 7},
        "fans": [{"name": "Ann"}, {"name": "Bo"}],
        "null": None,
        "each": {"name": "in the document"},
    }
    assert Path.of(path).find(Event(document)) == found


def test_each_is_the_entry_where_there_is_one() -> None:
    event = Event({"each": 1, "id": 2}, {"id": "a"})
    assert Path.of("each.id").find(event) == "a"
    assert Path.of("each").find(event) == {"id": "a"}
    assert Path.of("id").find(event) == 2


def test_a_message_may_be_a_list() -> None:
    assert Path.of("1.id").find(Event(["goal", {"id": 3}])) == 3


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a b", "a[0]", "a!r", "a:>10", "a()", "é", ".".join("a" * 17)]
)
def test_a_path_is_names_and_dots(text: str) -> None:
    with pytest.raises(ValueError, match="names separated by dots"):
        Path.of(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", ""),
        (7, "7"),
        (7.5, "7.5"),
        (True, "true"),
        (None, None),
        ([], None),
        ({}, None),
        (ABSENT, None),
    ],
)
def test_text_of(value: Any, text: str | None) -> None:
    assert text_of(value) == text
