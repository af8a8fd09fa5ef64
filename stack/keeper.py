"""Keeps one process running: starts it when what it needs is healthy, starts it again when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from stack import leash, logs, restarts
from stack.errors import NotReady, StartFailed
from stack.layout import Layout
from stack.process import Process
from stack.settings import ROOT
from stack.state import Health, ProcessStatus

_STARTING_INTERVAL_S = 0.05  # between two probes
_HEALTHY_INTERVAL_S = 2.0
_PROBE_LIMIT_S = 10.0  # probes have limits of their own, this one is for what they forget


class Keeper:
    """One process and its status. `report` is called after each change of the status."""

    def __init__(
        self, process: Process, layout: Layout, inherited: Mapping[str, str], report: Callable[[], None]
    ) -> None:
        self.process = process
        self.first_healthy = asyncio.Event()
        self.status = ProcessStatus(process.name, None, process.address, Health.WAITING)
        self._log = layout.log(process.name)
        self._environment = {**inherited, **process.environment}
        self._report = report
        self._running: asyncio.subprocess.Process | None = None
        self._healthy_since: float | None = None
        self._crashes = 0

    async def keep(self, needed: Sequence[asyncio.Event]) -> None:
        """Runs, once all of `needed` are set, until cancelled. Raises StartFailed when the process never becomes
        healthy in its limit."""
        for one in needed:
            await one.wait()
        try:
            async with asyncio.timeout(self.process.start_limit_s) as limit:
                while True:
                    await self._start()
                    await self._attend(lambda: limit.reschedule(None))
                    await self._pause()
        except TimeoutError:
            reason = f"after {self.process.start_limit_s:g} s: {self.status.detail or 'no answer'}"
            raise StartFailed(self.process.name, reason) from None

    async def stop(self) -> None:
        """Ends the process group: SIGTERM, and SIGKILL after the grace period."""
        running = self._running
        if running is not None and running.returncode is None:
            # SIGCONT, for a process that somebody has stopped cannot heed the first signal.
            _signal(running.pid, signal.SIGTERM, signal.SIGCONT)
            try:
                async with asyncio.timeout(self.process.grace_s):
                    await running.wait()
            except TimeoutError:
                logs.say(f"{self.process.name}: killed, {self.process.grace_s:g} s after SIGTERM")
                _signal(running.pid, signal.SIGKILL)
                await running.wait()
        self._change(Health.STOPPED, pid=None)

    async def _start(self) -> None:
        self._prepare()
        command = leash.command(self.process.command, sys.executable, os.getpid())
        with self._log.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=ROOT,
                process_group=0,
            )
        self._healthy_since = None
        self.status.since = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._change(Health.STARTING, pid=self._running.pid)

    def _prepare(self) -> None:
        try:
            self.process.prepare()
        except Exception as error:
            if self.first_healthy.is_set():
                # It has run with what was written before; on a full disk it shall again.
                logs.say(f"{self.process.name}: its configuration cannot be written anew: {error}")
                return
            reason = f"its configuration cannot be written: {error}"
            raise StartFailed(self.process.name, reason) from error

    async def _attend(self, served: Callable[[], None]) -> None:
        """Probes the process until it ends; `served` is called when it serves for the first time."""
        running = self._running
        assert running is not None
        while running.returncode is None:
            complaint = await self._complaint()
            if running.returncode is not None:
                break
            if complaint is None:
                served()
                self._note_healthy()
            else:
                self._note_complaint(complaint)
            healthy = self._healthy_since is not None
            await _ended(running, _HEALTHY_INTERVAL_S if healthy else _STARTING_INTERVAL_S)

    async def _complaint(self) -> str | None:
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S):
                await self.process.probe()
        except TimeoutError:
            return "no answer in time"
        except (NotReady, OSError) as error:
            return str(error)
        return None

    def _note_healthy(self) -> None:
        if self._healthy_since is None:
            self._healthy_since = time.monotonic()
        self.first_healthy.set()
        if self.status.health is not Health.HEALTHY:
            self.status.detail = None
            self._change(Health.HEALTHY)

    def _note_complaint(self, complaint: str) -> None:
        self.status.detail = complaint
        if self.status.health is Health.HEALTHY:
            self._change(Health.UNHEALTHY)

    async def _pause(self) -> None:
        """Notes how the process ended and waits until the next start is due."""
        assert self._running is not None
        ended = _ending(self._running.returncode)
        healthy_s = 0.0 if self._healthy_since is None else time.monotonic() - self._healthy_since
        self._crashes = restarts.crashes_in_row(self._crashes, healthy_s)
        if not self.first_healthy.is_set() and self._crashes >= restarts.START_ATTEMPTS:
            raise StartFailed(self.process.name, f"it ended {self._crashes} times ({ended})")
        delay_s = restarts.delay_s(self._crashes)
        logs.say(f"{self.process.name}: {ended}; starts again in {delay_s:g} s")
        if self._crashes % restarts.LOOPING == 0:
            logs.say(
                f"{self.process.name}: ended {self._crashes} times in a row, the last time with {ended}: "
                f"it needs somebody, see `crown logs {self.process.name}`"
            )
        self.status.last_exit = ended
        self.status.restarts += 1
        self._change(Health.RESTARTING, pid=None)
        await asyncio.sleep(delay_s)

    def _change(self, health: Health, **pid: int | None) -> None:
        self.status.health = health
        self.status.pid = pid.get("pid", self.status.pid)
        self._report()


def _signal(group: int, *signals: signal.Signals) -> None:
    for one in signals:
        try:
            os.killpg(group, one)
        except ProcessLookupError:
            return


async def _ended(running: asyncio.subprocess.Process, within_s: float) -> None:
    """Returns when the process has ended, at the latest after `within_s`."""
    try:
        async with asyncio.timeout(within_s):
            await running.wait()
    except TimeoutError:
        return


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "it runs"
    if returncode >= 0:
        return f"exit status {returncode}"
    return f"killed by {signal.Signals(-returncode).name}"
