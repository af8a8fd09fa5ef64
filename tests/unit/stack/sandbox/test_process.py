"""The sandbox as a process of its own: start, kill, resume, and settings that do not do."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox


@asynccontextmanager
async def process(**variables: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A running sandbox and its address."""
    environment = {**os.environ, "CROWN_SANDBOX_PORT": "0", **variables}
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stack.sandbox", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await running.stdout.readline()).decode()
        found = re.search(r"http://[0-9.:]+", line)
        assert found is not None, line
        yield running, found[0]
    finally:
        if running.returncode is None:
            running.terminate()
        await running.communicate()


async def test_a_killed_sandbox_remembers_its_effects(tmp_path: Path) -> None:
    variables = {"CROWN_SANDBOX_LEDGER": str(tmp_path / "ledger"), "CROWN_SANDBOX_TWILIO_KEY": "AC1:t"}
    headers = {"Authorization": aiohttp.encode_basic_auth("AC1", "t")}
    path = "/2010-04-01/Accounts/AC1/Messages.json"
    form = {"To": "+14155550100", "From": "+15005550006", "Body": "x"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with process(**variables) as (running, url):
            async with http.post(url + path, data=form) as response:
                sid = (await response.json())["sid"]
            running.send_signal(signal.SIGKILL)
        async with process(**variables) as (running, url):
            async with http.get(url + path) as response:
                assert [m["sid"] for m in (await response.json())["messages"]] == [sid]
            running.terminate()
            async with asyncio.timeout(5):
                assert await running.wait() == 0


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"CROWN_SANDBOX_PORT": "many"}, "CROWN_SANDBOX_PORT"),
        ({"CROWN_SANDBOX_BIND": "0.0.0.0"}, "CROWN_SANDBOX_BIND"),
        ({"CROWN_SANDBOX_SENDGRID_KEY_FILE": "/nonexistent"}, "CROWN_SANDBOX_SENDGRID_KEY_FILE"),
        ({"CROWN_SANDBOX_SERVICE_ACCOUNT": "/dev/null"}, "service account"),
    ],
)
async def test_a_bad_setting_ends_it_at_once(variables: dict[str, str], named: str) -> None:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stack.sandbox", env={**os.environ, **variables}, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        _, errors = await running.communicate()
    assert running.returncode
    assert named in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_it_is_well_and_says_what_it_serves(sandbox: Sandbox) -> None:
    assert await sandbox.call("GET", "/healthz") == (200, {"status": "ok"})
    status, body = await sandbox.call("GET", "/nowhere")
    assert status == 404
    assert "POST /v3/mail/send" in body["endpoints"]


async def test_without_keys_it_refuses_everybody() -> None:
    async with process() as (_, url), aiohttp.ClientSession() as http:
        async with http.post(url + "/v3/mail/send", headers={"Authorization": "Bearer "}) as response:
            assert response.status == 401
        async with http.post(url + "/v1/projects/p/messages:send") as response:
            assert response.status == 401
        path = "/2010-04-01/Accounts/AC1/Messages.json"
        headers = {"Authorization": aiohttp.encode_basic_auth("", "")}
        async with http.post(url + path, headers=headers) as response:
            assert response.status == 401
