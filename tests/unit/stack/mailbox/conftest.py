"""A mailbox in this process, on ports of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import pytest

from stack.mailbox.server import Mailbox, start
from stack.mailbox.settings import Settings


@dataclass(frozen=True)
class Post:
    """Sends to one running mailbox and reads what it keeps."""

    mailbox: Mailbox
    http: aiohttp.ClientSession
    store: Path

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.mailbox.http_port}{path}"
        async with self.http.request(method, url, **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.content_type == "application/json" else text

    async def kept(self, **query: str) -> list[dict[str, Any]]:
        _, body = await self.call("GET", "/messages", params=query)
        messages: list[dict[str, Any]] = body["messages"]
        return messages

    async def script(self, **order: Any) -> None:
        status, body = await self.call("POST", "/script", json=order)
        assert status == 200, body

    def client(self, **options: Any) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(hostname="127.0.0.1", port=self.mailbox.smtp_port, timeout=5, **options)

    async def send(self, to: str = "ann@example.org", **headers: str) -> str:
        """The server's last reply. Raises what aiosmtplib raises."""
        async with self.client() as client:
            return (await client.send_message(letter(to, **headers)))[1]


def letter(to: str = "ann@example.org", **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Crown <crown@example.org>"
    message["To"] = to
    message["Subject"] = headers.pop("subject", "Hello")
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hi Ann\n")
    message.add_alternative("<p>Hi Ann</p>\n", subtype="html")
    return message


@pytest.fixture(scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Post]:
    store = tmp_path_factory.mktemp("mailbox") / "mail.jsonl"
    mailbox = await start(Settings(smtp_port=0, http_port=0, store=store))
    async with aiohttp.ClientSession() as http:
        yield Post(mailbox, http, store)
    await mailbox.stop()


@pytest.fixture
async def post(running: Post) -> Post:
    """The one mailbox of these tests, empty."""
    assert (await running.call("POST", "/reset"))[0] == 200
    return running
