"""Cursors of members, what removals are told with, and kinds."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown.errors import InvalidRequest
from crown.notification.v1.events_pb2 import EphemeralEvent
from crown.notification.v1.types_pb2 import GroupKind
from services.ingest import groups

USER_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@|:+=-]{0,127}", fullmatch=True)


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


@given(USER_IDS)
def test_a_cursor_goes_on_after_its_member(user_id: str) -> None:
    cursor = groups._cursor(user_id)
    assert groups._place(cursor) == user_id
    assert len(cursor) <= 512
    assert cursor.replace("=", "").replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "=",
        "é",
        "AAAA",
        "member:a",
        encoded(b""),
        encoded(b"user1"),
        encoded(b"\xff\xfe"),
        "A" * 511,
        "bWV\n",
    ],
)
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        groups._place(cursor)
    assert [violation.field for violation in caught.value.violations] == ["cursor"]


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (1_000, [1_000]), (2_500, [1_000, 1_000, 500])])
def test_removals_are_told_in_slices(count: int, sizes: list[int]) -> None:
    people = [f"{number:0128}" for number in range(count)]
    told = list(groups._removals(people))
    assert [len(event.removed) for event in told] == sizes
    assert [user_id for event in told for user_id in event.removed] == people
    # NATS takes 1 MiB, and ends the connection of who sends more.
    assert max(len(event.SerializeToString()) for event in told) < 512 << 10


def test_a_removal_is_no_event_for_sockets() -> None:
    (event,) = groups._removals(["a"])
    assert event == EphemeralEvent(removed=["a"])


def test_every_kind_has_a_topic_and_comes_back() -> None:
    assert groups._KINDS.keys() == set(GroupKind.Type.values())
    assert groups._KIND_OF == {"group": GroupKind.GROUP, "chat": GroupKind.CHAT}
