"""The `phoenix` package from npm, unchanged, in a Node process of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.realtime.conftest import Node, Publisher, Trust

SCRIPTS = Path(__file__).parents[2] / "js"


@pytest.fixture(scope="session")
async def packages() -> None:
    """What package-lock.json names."""
    if (SCRIPTS / "node_modules" / ".package-lock.json").exists():
        return
    npm = shutil.which("npm")
    assert npm, "Node is missing: `make node` sees to it"
    process = await asyncio.create_subprocess_exec(npm, "ci", "--no-audit", "--no-fund", cwd=SCRIPTS)
    assert await process.wait() == 0


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("way", ["params", "subprotocol"])
async def test_the_official_client_joins_beats_receives_and_leaves(
    node: Node, trust: Trust, publisher: Publisher, user: str, way: str
) -> None:
    address = f"ws://127.0.0.1:{node.websocket_port}/socket"
    process = await asyncio.create_subprocess_exec(
        "node",
        "tour.js",
        address,
        user,
        trust.token(user),
        way,
        "3",
        cwd=SCRIPTS,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    steps: list[tuple[str, Any]] = []
    async with asyncio.timeout(30):
        async for line in process.stdout:
            found = json.loads(line)
            steps.append((found["step"], found["data"]))
            if found["step"] == "joined":
                for number in range(3):
                    await publisher.notify(user, f"n{number}", title="hello")
        assert await process.wait() == 0, steps
    said = dict(steps)
    assert said["open"]["protocol"] == ("phoenix" if way == "subprotocol" else "")
    assert said["refused"]["reason"] == "NOT_ALLOWED"
    assert said["heartbeat"] == {"status": "ok", "response": {}}
    assert [data["notification_id"] for step, data in steps if step == "notification"] == ["n0", "n1", "n2"]
    assert [step for step, _ in steps][-3:] == ["closed", "left", "close"]
