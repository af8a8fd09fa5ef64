"""Which memberships count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crown import groups
from crown.groups import Group

MADE = datetime(2026, 11, 22, 12, tzinfo=UTC)
STEP = timedelta(milliseconds=1)


def group(**given: object) -> Group:
    fields: dict[str, object] = {"group_id": "g:1", "kind": "chat", "client_events": False}
    return Group(**{**fields, "create_time": MADE, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", groups.KINDS)
def test_a_topic_is_kind_and_id(kind: str) -> None:
    assert group(kind=kind).topic == f"{kind}:g:1"


@pytest.mark.parametrize(
    ("joined", "is_in"),
    [(None, False), (MADE - STEP, False), (MADE, True), (MADE + STEP, True)],
    ids=["never", "before the group was made", "with it", "later"],
)
def test_who_joined_the_group_before_it_is_in_none(joined: datetime | None, is_in: bool) -> None:
    assert groups._where(group(), joined) == (group() if is_in else None)


def test_nobody_is_in_a_group_that_there_is_not() -> None:
    assert groups._where(None, MADE + STEP) is None
