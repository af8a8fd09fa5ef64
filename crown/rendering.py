"""Links as a person gets them. What may stand in a link is decided by crown/links.py when a notification is
accepted; it is asked again here, so that nothing unsafe is ever rendered, however it got in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from crown.links import action_problem, image_problem


@dataclass(frozen=True, slots=True)
class Links:
    """Where the app lives, `https://host`, and the hosts that links may point to."""

    public_url: str
    hosts: Collection[str]

    def action(self, url: str) -> str:
        """`url` as an absolute address, a path joined to the app's; empty where there is none or it is not
        allowed."""
        if not url or action_problem(url, self.hosts):
            return ""
        return f"{self.public_url}{url}" if url.startswith("/") else url

    def image(self, url: str) -> str:
        """`url` if it is an allowed picture, else empty."""
        return "" if not url or image_problem(url, self.hosts) else url
