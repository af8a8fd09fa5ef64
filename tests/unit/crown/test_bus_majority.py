"""Whether a stream takes what is published, by what NATS says of those who keep it."""

from __future__ import annotations

from typing import Any

import pytest

from crown.bus import streams

S = 1_000_000_000


def _keeps(active_s: float = 0.4, **more: Any) -> dict[str, Any]:
    return {"name": "n1", "current": True, "active": int(active_s * S), **more}


@pytest.mark.parametrize(
    ("replicas", "found"),
    [
        ([], True),
        ([_keeps(), _keeps()], True),
        ([_keeps(), _keeps(offline=True)], True),
        ([_keeps(), _keeps(60)], True),
        ([_keeps(offline=True), _keeps(offline=True)], False),
        ([_keeps(60), _keeps(60)], False),
        ([_keeps(6), _keeps(offline=True)], False),
        ([_keeps(), _keeps(), _keeps(60), _keeps(60)], True),
        ([_keeps(), _keeps(60), _keeps(60), _keeps(60)], False),
    ],
)
def test_who_leads_has_to_hear_from_most(replicas: list[dict[str, Any]], found: bool) -> None:
    assert streams.has_majority({"leader": "n0", "replicas": replicas}) == found


def test_who_keeps_it_alone_is_all_there_are() -> None:
    assert streams.has_majority(None)
    assert streams.has_majority({"leader": "n0"})
