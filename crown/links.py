"""Which links a notification may carry. Stricter than urlsplit, because browsers are laxer than it: they take
`/\\evil.example` and `https:evil.example` to evil.example, and urlsplit calls both local."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from crown.errors import Violation
from crown.notification.v1.notification_pb2 import NotificationData

_BAD = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\u200b-\u200f\ufeff]")
_PATH = re.compile(r"/(?![/\\])")
_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+"
)


def action_problem(url: str, hosts: Collection[str]) -> str | None:
    """Why `url` may not be an action link; None where it may: a path of the app, or https on one of `hosts`
    or below it."""
    if _PATH.match(url) and not _BAD.search(url):
        return None
    return _https_problem(url, hosts, "must be a path such as /messages/123, or https on an allowed host")


def image_problem(url: str, hosts: Collection[str]) -> str | None:
    """Why `url` may not be a picture; None where it may: https on one of `hosts` or below it."""
    return _https_problem(url, hosts, "must be https on an allowed host")


def problems(data: NotificationData, hosts: Collection[str]) -> list[Violation]:
    """What is wrong with the links of a notification."""
    found = []
    if data.action_url and (why := action_problem(data.action_url, hosts)):
        found.append(Violation("data.action_url", why, "link"))
    if data.image_url and (why := image_problem(data.image_url, hosts)):
        found.append(Violation("data.image_url", why, "link"))
    return found


def _https_problem(url: str, hosts: Collection[str], otherwise: str) -> str | None:
    if _BAD.search(url):
        return f"{otherwise}, without spaces, backslashes or control characters"
    if not url.lower().startswith("https://"):
        return otherwise
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return otherwise
    host = (parts.hostname or "").lower()
    if "@" in parts.netloc or port not in {None, 443} or not _HOST.fullmatch(host):
        return otherwise
    if not any(host == allowed or host.endswith(f".{allowed}") for allowed in hosts):
        return otherwise
    return None
