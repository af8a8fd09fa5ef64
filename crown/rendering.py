"""Links as a person gets them. What may stand in a link is decided by crown/links.py when a request comes in; it
is asked again when a link is rendered, so that an unsafe one never is, however it got in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from crown.errors import Violation
from crown.links import action_problem, image_problem, problems
from crown.notification.v1.notification_pb2 import NotificationData


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

    def problems(self, data: NotificationData) -> list[Violation]:
        """What is wrong with the links of a request's `data`."""
        return problems(data, self.hosts)
