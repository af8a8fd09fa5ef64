"""Links as people get them."""

from __future__ import annotations

import pytest

from crown.notification.v1.notification_pb2 import NotificationData
from crown.rendering import Links

LINKS = Links("https://app.example.org", ("app.example.org", "cdn.example.net"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/messages/123?x=1#y", "https://app.example.org/messages/123?x=1#y"),
        ("https://app.example.org/x", "https://app.example.org/x"),
        ("https://eu.cdn.example.net/x", "https://eu.cdn.example.net/x"),
        ("", ""),
        ("messages/123", ""),
        ("//evil.example/x", ""),
        ("/\\evil.example", ""),
        ("https://evil.example/x", ""),
        ("javascript:alert(1)", ""),
    ],
)
def test_action(url: str, expected: str) -> None:
    assert LINKS.action(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://cdn.example.net/a.png", "https://cdn.example.net/a.png"),
        ("/a.png", ""),
        ("http://x/a.png", ""),
    ],
)
def test_image(url: str, expected: str) -> None:
    assert LINKS.image(url) == expected


def test_all_problems_are_told() -> None:
    data = NotificationData(action_url="javascript:alert(1)", image_url="/a.png")
    assert [problem.field for problem in LINKS.problems(data)] == ["data.action_url", "data.image_url"]
    assert LINKS.problems(NotificationData(title="x")) == []
