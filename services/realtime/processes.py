"""The supervisor of several realtime processes: `python -m services.realtime` becomes it where
CROWN_REALTIME_PROCESSES says more than one. It binds the ports of clients and starts the processes, which inherit
them: a connection that waits is taken by whoever has time, also when one of them ends. It starts those again that
end, stops all with itself, and serves nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Mapping

from crown import logs, uncaught
from crown.settings import SettingsError, environment, exit_with
from crown.stopping import pause
from services.realtime import inherited, listeners
from services.realtime.settings import Settings

log = logs.get(__name__)

# Seconds before a process that ended is started again: the first time, and at most.
FIRST_DELAY_S = 0.25
MOST_DELAY_S = 10.0
# A process that ran this long did not end "again".
_STEADY_S = 10.0
# Seconds that processes get beyond their grace period, for what they do besides draining.
_MARGIN_S = 3.0
_PORTS_END = 65_536


def several() -> None:
    """Becomes the supervisor where several processes are asked for. Returns where one is, where this is one of
    several, and where settings are wrong, which is then told by who reads them next."""
    try:
        settings = Settings.load()
    except SettingsError:
        return
    if settings.processes > 1 and not settings.inherited:
        # Anew, without what only they need; nothing has been started yet.
        os.execv(sys.executable, [sys.executable, "-m", "services.realtime.processes"])  # noqa: S606


class Supervisor:
    """Keeps `settings.processes` of them running, which inherit `descriptors`."""

    def __init__(self, settings: Settings, descriptors: Mapping[str, int]) -> None:
        self._settings = settings
        self._descriptors = descriptors
        self._running: dict[int, Process] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping` is set and every process has ended, or been ended."""
        keepers = {
            asyncio.create_task(self._keep(number, stopping), name=f"process {number}")
            for number in range(self._settings.processes)
        }
        await stopping.wait()
        # All at once: who is sent away by one must not come to another that goes next. Each drains in slices.
        for process in self._running.values():
            process.terminate()
        _, late = await asyncio.wait(keepers, timeout=self._settings.grace_s + _MARGIN_S)
        for number, process in self._running.items():
            log.error("process_killed", number=number)
            process.kill()
        if late:
            await asyncio.wait(late)

    async def _keep(self, number: int, stopping: asyncio.Event) -> None:
        failures = 0
        while not stopping.is_set():
            began = time.monotonic()
            status = await self._run(number, stopping)
            if stopping.is_set():
                return
            failures = 1 if time.monotonic() - began >= _STEADY_S else failures + 1
            delay_s = again_in_s(failures)
            log.error("process_ended", number=number, status=status, again_in_s=delay_s)
            await pause(stopping, delay_s)

    async def _run(self, number: int, stopping: asyncio.Event) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.realtime",
            env=environment(
                CROWN_LISTENERS=inherited.told(self._descriptors),
                CROWN_METRICS_PORT=str(self._settings.metrics_port + number),
            ),
            pass_fds=tuple(self._descriptors.values()),
        )
        self._running[number] = process
        if stopping.is_set():
            process.terminate()
        status = await process.wait()
        del self._running[number]
        return status


def again_in_s(failures: int) -> float:
    """Seconds before a process is started again that ended `failures` times (1, 2, …) soon after it began: 0.25,
    0.5, 1, 2, 4, 8, then 10."""
    return float(min(MOST_DELAY_S, FIRST_DELAY_S * 2 ** min(failures - 1, 10)))


async def supervise(settings: Settings, bound: Mapping[str, socket.socket]) -> None:
    """Runs until SIGTERM or SIGINT."""
    uncaught.hear_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # The processes read one end. They do not have the other: it closes when this process ends, however it does.
    life, held = os.pipe()
    descriptors = {**{name: port.fileno() for name, port in bound.items()}, inherited.LIFE: life}
    try:
        await Supervisor(settings, descriptors).run(stopping)
    finally:
        os.close(life)
        os.close(held)
    log.info("stopped")


def main() -> None:
    """The life of the supervisor."""
    try:
        settings = Settings.load()
        if settings.metrics_port + settings.processes > _PORTS_END:
            raise SettingsError(
                ["CROWN_METRICS_PORT: each process has its own, counted from it; there are too few"]
            )
        ports = listeners.ports(settings).items()
        bound = {name: listeners.bind(settings.bind, port, setting) for name, (setting, port) in ports}
    except SettingsError as error:
        exit_with(error)
    logs.set_up("realtime", settings.log_level)
    uncaught.hear()
    asyncio.run(supervise(settings, bound))


if __name__ == "__main__":
    main()
