"""A bare loop of calls to a provider, in a process of its own: the limit of what a worker can do in Python. The same
call again and again, so many abreast, over connections that are kept."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import aiosmtplib

from bench.child import Answer, BenchError, serve
from services.push.fcm.access_token import AccessToken

Call = Callable[[], Awaitable[None]]


class Caller:
    """`open` says whom to call; `count` calls, `abreast` at a time."""

    def __init__(self) -> None:
        self._open: Callable[[], Awaitable[Call]] | None = None
        self._calls: list[Call] = []

    async def handle(self, order: Answer) -> Answer:
        """What it took."""
        if "open" in order:
            self._open = await _http(order["open"]) if "url" in order["open"] else _smtp(order["open"])
            return {}
        assert self._open is not None
        while len(self._calls) < order["abreast"]:
            self._calls.append(await self._open())
        cpu, began = time.process_time(), time.perf_counter()
        share = order["count"] // order["abreast"]
        await asyncio.gather(*(_repeat(call, share) for call in self._calls))
        scale = order["count"] / (share * order["abreast"])
        return {
            "cpu_s": (time.process_time() - cpu) * scale,
            "seconds": (time.perf_counter() - began) * scale,
        }


async def _repeat(call: Call, times: int) -> None:
    for _ in range(times):
        await call()


async def _http(given: Answer) -> Callable[[], Awaitable[Call]]:
    """All callers share one session, as in a worker."""
    url, headers, body = _request(given)
    if "account" in given:
        # The loop's own token, from the same place.
        headers["Authorization"] = f"Bearer {await AccessToken(_account(given)).current()}"
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def call() -> None:
        async with session.post(url, headers=headers, data=body) as answer:
            if answer.status >= 300:
                raise BenchError(f"{url} answered {answer.status}: {await answer.text()}")
            await answer.read()

    async def another() -> Call:
        return call

    return another


def _request(given: Answer) -> tuple[str, dict[str, str], bytes]:
    headers = {"Content-Type": "application/json"}
    if "account" in given:
        url = f"{given['url']}/v1/projects/{_account(given)['project_id']}/messages:send"
        return url, headers, given["body"].encode()
    if "bearer_file" in given:
        headers["Authorization"] = f"Bearer {Path(given['bearer_file']).read_text().strip()}"
        return given["url"], headers, given["body"].encode()
    key = Path(given["basic_file"]).read_text().strip()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": f"Basic {base64.b64encode(key.encode()).decode()}",
    }
    return f"{given['url']}/{key.partition(':')[0]}/Messages.json", headers, urlencode(given["form"]).encode()


def _account(given: Answer) -> Answer:
    account: Answer = json.loads(Path(given["account"]).read_text())
    return account


def _smtp(given: Answer) -> Callable[[], Awaitable[Call]]:
    """Each caller has a connection: a mail server takes one mail at a time on each."""
    host, _, port = given["smtp"].rpartition(":")
    mail = EmailMessage()
    mail["From"], mail["To"] = "notifications@crown.example", "bench@crowd.example"
    mail["Subject"] = "New Message"
    mail.set_content(given["text"])
    raw = mail.as_bytes()

    async def another() -> Call:
        client = aiosmtplib.SMTP(hostname=host, port=int(port), use_tls=False, start_tls=False)
        await client.connect()

        async def call() -> None:
            await client.sendmail("notifications@crown.example", ["bench@crowd.example"], raw)

        return call

    return another


if __name__ == "__main__":
    serve(Caller().handle)
