"""The pages behind an unsubscribe link."""

from __future__ import annotations

import base64
import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown.notification.v1.types_pb2 import Category
from services.email.unsubscribe_page import HEADERS, ask, done, language

CATEGORIES = [Category.ACTIVITY, Category.SOCIAL, Category.SYSTEM, Category.MARKETING]


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE-at", "de"),
        ("en-GB,en;q=0.9,de;q=0.8", "en"),
        ("fr, de;q=0.7, en;q=0.3", "de"),
        ("fr-CH, it", "en"),
        ("en;q=0.1, de-DE;q=0.2", "de"),
        ("de;q=0, fr", "en"),
        ("de;q=x", "en"),
        ("*", "en"),
        ("deutsch", "en"),
        ("," * 9_000 + "de", "en"),
    ],
)
def test_the_language_that_a_browser_likes_best(accepted: str, expected: str) -> None:
    assert language(accepted) == expected


@given(st.text())
def test_any_header_is_read(accepted: str) -> None:
    assert language(accepted) in {"en", "de"}


@pytest.mark.parametrize("name", ["en", "de"])
@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("page", [ask, done])
def test_a_page_is_whole_and_says_what_it_is_about(page: object, category: int, name: str) -> None:
    assert callable(page)
    html = page("Crown & <Co>", category, name)
    assert f'<html lang="{name}">' in html
    assert '<meta name="robots" content="noindex,nofollow">' in html
    assert "Crown &amp; &lt;Co&gt;" in html
    assert not re.search(r"<script|<img|<link|https?://|\son\w+=|style=", html)
    others = [page("", other, name) for other in CATEGORIES if other != category]
    assert page("", category, name) not in others


def test_one_button_that_posts_to_the_link_itself() -> None:
    html = ask("", Category.SOCIAL, "en")
    assert re.findall(r"<(?:form|button|a|input)[^>]*>", html) == [
        '<form method="post">',
        '<button name="List-Unsubscribe" value="One-Click">',
    ]
    assert "<form" not in done("", Category.SOCIAL, "en")


def test_the_policy_lets_the_style_in_and_nothing_else() -> None:
    policy = HEADERS["content-security-policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", ask("", Category.SOCIAL, "en"), re.DOTALL)
    assert f"'sha256-{base64.b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
