"""Who may be called for whom."""

from __future__ import annotations

import pytest

from services.ingest.webhook.hosts import WebhookHosts

HOSTS = WebhookHosts.parse("feed=hooks.example|*.feed.example , chat=127.0.0.1:9000")


@pytest.mark.parametrize(
    ("service", "url"),
    [
        ("feed", "https://hooks.example/a"),
        ("feed", "https://a.feed.example/"),
        ("chat", "http://127.0.0.1:9000/hook"),
    ],
)
def test_allowed(service: str, url: str) -> None:
    assert HOSTS.problem(service, url) is None


@pytest.mark.parametrize(
    ("service", "url"),
    [
        ("feed", "http://hooks.example/a"),
        ("feed", "http://127.0.0.1:9000/hook"),
        ("feed", "https://hooks.example:8443/"),
        ("feed", "https://evil.example/?hooks.example"),
        ("feed", "https://hooks.example@evil.example/"),
        ("feed", "https://169.254.169.254/"),
        ("chat", "https://hooks.example/a"),
        ("chat", "http://127.0.0.1:9001/hook"),
        ("news", "https://hooks.example/a"),
    ],
)
def test_refused(service: str, url: str) -> None:
    assert HOSTS.problem(service, url)


def test_a_refusal_names_what_is_allowed() -> None:
    assert "allowed are hooks.example, *.feed.example" in (
        HOSTS.problem("feed", "https://evil.example/") or ""
    )


def test_what_may_be_called_at_all() -> None:
    assert HOSTS.egress.problem("https://hooks.example/") is None
    assert HOSTS.egress.problem("http://127.0.0.1:9000/") is None
    assert HOSTS.egress.problem("https://evil.example/")
    assert WebhookHosts.parse("").egress.problem("https://hooks.example/")


@pytest.mark.parametrize("text", ["feed", "feed=", "=a.example", "feed=https://a.example", "a=x.y,a=z.y"])
def test_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        WebhookHosts.parse(text)
