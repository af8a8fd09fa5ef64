"""A real browser, headless, spoken to over its DevTools protocol. It comes from npm with all that it needs but the C
library: tests/browser."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests import packages
from tests.e2e.waiting import until

FOLDER = Path(__file__).parents[1] / "browser"
_UNPACKED = FOLDER / "node_modules" / ".chromium"
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}/fonts</dir><cachedir>{folder}/cache</cachedir></fontconfig>"""
_LIMIT_S = 20.0
_UNPACK_LIMIT_S = 100.0


async def install() -> None:
    """Brings the browser, about 65 MB to download, and unpacks it."""
    await packages.install(FOLDER)
    await asyncio.to_thread(_unpack)


def _unpack() -> None:
    with (FOLDER / "package.json").open() as lock:
        # Two test runs may come here at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _UNPACKED.exists():
            return
        partial = _UNPACKED.with_suffix(".partial")
        subprocess.run(("node", "unpack.js", str(partial)), cwd=FOLDER, check=True, timeout=_UNPACK_LIMIT_S)
        partial.rename(_UNPACKED)


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def call(self, method: str, **given: Any) -> dict[str, Any]:
        """One call of the protocol. Fails with its error."""
        return await self._browser.call(method, self._session, **given)

    async def run(self, script: str) -> Any:
        """The value of an expression on the page. Fails where it throws."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def open(self, url: str) -> None:
        """Goes there."""
        await self.call("Page.navigate", url=url)

    async def show(self, html: str) -> None:
        """Shows this page."""
        tree = await self.call("Page.getFrameTree")
        await self.call("Page.setDocumentContent", frameId=tree["frameTree"]["frame"]["id"], html=html)

    async def texts(self, selector: str) -> list[str]:
        """What the visible elements say that the selector finds."""
        found: list[str] = await self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            ".filter(one => one.checkVisibility()).map(one => one.innerText)"
        )
        return found

    async def shows(self, selector: str, *wanted: str, within_s: float = _LIMIT_S) -> None:
        """Returns when exactly these texts are there."""
        await until(lambda: self.texts(selector), lambda found: found == list(wanted), within_s)

    async def click(self, selector: str) -> None:
        """Clicks the one element."""
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def type(self, selector: str, text: str) -> None:
        """Types into a field."""
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", text=text)

    async def resize(self, width: int, height: int, *, dark: bool) -> None:
        """Shows the page in that size and mode."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        # Twice to the screen: once laid out, once drawn.
        await self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    async def screenshot(self, width: int, height: int, *, dark: bool) -> bytes:
        """A picture of the page in that size, as PNG."""
        await self.resize(width, height, dark=dark)
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


class Browser:
    """A running browser. `complaints` is what pages logged as errors, and what their policy blocked."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []

    async def call(self, method: str, session: str = "", **given: Any) -> dict[str, Any]:
        """One call of the protocol. Fails with its error."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json(
            {"id": number, "method": method, "params": given} | ({"sessionId": session} if session else {})
        )
        async with asyncio.timeout(_LIMIT_S):
            found = await answer
        assert "error" not in found, (method, found)
        result: dict[str, Any] = found["result"]
        return result

    async def tab(self) -> Tab:
        """A new page that shares nothing with the others."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await tab.call(f"{domain}.enable")
        return tab

    async def read(self) -> None:
        """Takes what the browser says, until it is gone."""
        async for message in self._socket:
            found = json.loads(message.data)
            if "id" in found:
                self._answers.pop(found["id"]).set_result(found)
            else:
                self._note(found["method"], found["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["source"] in {"security", "javascript"}:
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] == "error":
                self.complaints.append(str(params["args"]))


def _fonts(home: Path) -> Path:
    """Names the browser's own fonts below `home`. At each start: a folder that was moved has them elsewhere, and
    without any the browser dies of a text."""
    home.mkdir(parents=True, exist_ok=True)
    found = home / "fonts.conf"
    found.write_text(_FONTS.format(folder=_UNPACKED))
    return found


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Browser]:
    """A browser with its profile below `home`."""
    fonts = _fonts(home)
    process = await asyncio.create_subprocess_exec(
        str(_UNPACKED / "chromium"), "--headless", "--no-sandbox", "--no-zygote", "--disable-gpu",
        "--disable-dev-shm-usage", "--remote-debugging-port=0", f"--user-data-dir={home}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, env={
            "PATH": os.environ["PATH"], "HOME": str(home), "LD_LIBRARY_PATH": str(_UNPACKED / "lib"),
            "FONTCONFIG_FILE": str(fonts),
        },
    )  # fmt: skip
    try:
        port = home / "DevToolsActivePort"

        async def address() -> list[str]:
            assert process.returncode is None, "the browser has ended"
            return port.read_text().splitlines() if port.exists() else []

        number, path = await until(address, lambda lines: len(lines) == 2, _LIMIT_S)
        async with aiohttp.ClientSession() as http:
            async with http.ws_connect(f"ws://127.0.0.1:{number}{path}", max_msg_size=0) as socket:
                browser = Browser(socket)
                reading = asyncio.create_task(browser.read())
                yield browser
                reading.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(home, ignore_errors=True)
