"""`python -m gateway`: Envoy with the configuration that the environment gives, and a drain on SIGTERM. By itself
Envoy would cut every connection off at once; so its clients are first asked to go, and given time."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from gateway.render import files
from gateway.template import ConfigurationError

_ADMIN_TIMEOUT_S = 2.0
_LOOK_S = 0.25
# Seconds that Envoy gets to end once it is told to.
_END_S = 5.0
_OPEN = "http.gateway.downstream_cx_active"


@dataclass(frozen=True, slots=True)
class Settings:
    """What this program is told, beside what the configuration is rendered from."""

    admin_port: int
    concurrency: int
    # Seconds that connections get on SIGTERM.
    grace_s: int

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Raises ConfigurationError naming the variable that makes no sense."""
        return cls(
            _number(environ, "ENVOY_ADMIN_PORT", 3006, 65_535),
            _number(environ, "GATEWAY_CONCURRENCY", 2, 256),
            _number(environ, "GATEWAY_GRACE_S", 20, 600),
        )


def _number(environ: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise ConfigurationError(f"{name}: must be a whole number from 1 to {most}")
    return int(text)


def command(settings: Settings, folder: Path) -> list[str]:
    """How Envoy is started with the configuration in `folder`."""
    return [
        str(_program(folder)),
        "--config-path", str(folder / "envoy.yaml"),
        "--concurrency", str(settings.concurrency),
        "--disable-hot-restart",
        "--log-level", "warning",
        "--drain-time-s", str(settings.grace_s),
        "--drain-strategy", "immediate",
    ]  # fmt: skip


def _program(folder: Path) -> Path:
    spec = importlib.util.find_spec("envoy")
    for place in (spec and spec.submodule_search_locations) or ():
        found = Path(place, "_bin", "envoy")
        if os.access(found, os.X_OK):
            return found
        if found.exists():
            # As its wheel leaves it.
            copy = folder / "envoy"
            shutil.copyfile(found, copy)
            copy.chmod(0o755)
            return copy
    raise ConfigurationError("Envoy is not installed here: it comes with the extra `stack`")


async def run(settings: Settings, folder: Path) -> int:
    """Runs Envoy until SIGTERM or SIGINT, drains, and answers the exit status."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # A session of its own: a signal from a terminal is for us alone.
    envoy = await asyncio.create_subprocess_exec(*command(settings, folder), start_new_session=True)
    ended = asyncio.create_task(envoy.wait())
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if ended.done():
        print(f"gateway: Envoy ended with status {ended.result()}", file=sys.stderr)  # noqa: T201
        return 1
    await _drain(settings, ended)
    await _end(envoy, ended)
    return 0


async def _drain(settings: Settings, ended: asyncio.Task[int]) -> None:
    """Asks everybody to go, and returns when they have, or when their time is over."""
    try:
        async with asyncio.timeout(settings.grace_s):
            await asyncio.to_thread(_ask, settings, "POST", "/drain_listeners?graceful&skip_exit")
            while not ended.done() and await asyncio.to_thread(_is_used, settings):
                await asyncio.wait({ended}, timeout=_LOOK_S)
    except TimeoutError:
        print("gateway: cut off those who did not go", file=sys.stderr)  # noqa: T201
    except (OSError, HTTPException) as error:
        print(f"gateway: Envoy cannot be asked to drain ({error})", file=sys.stderr)  # noqa: T201


async def _end(envoy: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    if not ended.done():
        envoy.terminate()
    try:
        async with asyncio.timeout(_END_S):
            await asyncio.shield(ended)
    except TimeoutError:
        envoy.kill()
        await ended


def _is_used(settings: Settings) -> bool:
    """Whether a connection is open."""
    _, _, count = _ask(settings, "GET", f"/stats?filter=^{_OPEN}$").partition(": ")
    return count.strip() not in ("", "0")


def _ask(settings: Settings, method: str, path: str) -> str:
    connection = HTTPConnection("127.0.0.1", settings.admin_port, timeout=_ADMIN_TIMEOUT_S)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def main() -> None:
    """Exits with 2 where a setting makes no sense."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        try:
            settings = Settings.read(os.environ)
            for file, text in files(os.environ, Path(name)).items():
                Path(name, file).write_text(text, encoding="utf-8")
            status = asyncio.run(run(settings, Path(name)))
        except ConfigurationError as error:
            print(f"wrong setting  {error}", file=sys.stderr)  # noqa: T201
            raise SystemExit(2) from None
    raise SystemExit(status)


if __name__ == "__main__":
    main()
