"""The mailbox as a process of its own: it says where it listens, keeps quiet, and ends in good order."""

from __future__ import annotations

import asyncio
import os
import re
import sys

import aiohttp
import aiosmtplib
import pytest


async def test_it_takes_mail_drops_and_ends_without_a_word() -> None:
    environment = {**os.environ, "CROWN_MAILBOX_SMTP_PORT": "0", "CROWN_MAILBOX_HTTP_PORT": "0"}
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stack.mailbox"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert running.stdout is not None
    async with asyncio.timeout(20):
        line = (await running.stdout.readline()).decode()
    found = re.search(r"smtp://127\.0\.0\.1:(\d+), (http://\S+)", line)
    assert found is not None, line
    port, url = int(found[1]), found[2]
    async with aiohttp.ClientSession() as http:
        order = {"command": "DATA", "drop": True, "times": 1}
        async with http.post(url + "/script", json=order) as response:
            assert response.status == 200
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await _send(port)
        await _send(port)
        async with http.get(url + "/messages") as response:
            assert (await response.json())["total"] == 2
    running.terminate()
    async with asyncio.timeout(10):
        output, errors = await running.communicate()
    assert (running.returncode, output, errors) == (0, b"", b"")


async def _send(port: int) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, timeout=5) as client:
        await client.sendmail("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\nHi\r\n")
