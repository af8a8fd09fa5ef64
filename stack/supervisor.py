"""The background process that runs a stack: starts all in order, restarts what ends, stops all in reverse.

`python -m stack.supervisor [name …]`; the settings come from the environment, what happens goes to stdout.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping

from stack import leash, logs, plan, services, state
from stack.errors import StackError, StartFailed
from stack.keeper import Keeper
from stack.layout import Layout
from stack.plan import Plan
from stack.process import Preparation, layers
from stack.settings import ROOT, Settings
from stack.state import Health, Phase, ProcessStatus, StackState

_LOG_CHECK_INTERVAL_S = 5.0
_RENEW_INTERVAL_S = 600.0
_PREPARE = "prepare"
_PREPARE_LIMIT_S = 60.0
_PREPARE_TRIES = 3
_PREPARE_PAUSE_S = 1.0

# What processes inherit. Not the rest: the caller's secrets are no business of every process.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_INHERITED_PREFIXES = ("PYTHON", "OTEL_", "GRPC_", "COVERAGE_")


class Supervisor:
    """Owns the processes of one plan."""

    def __init__(self, made: Plan) -> None:
        self._plan = made
        self._phase = Phase.STARTING
        self._failure: StartFailed | None = None
        self._prepared = asyncio.Event()
        self._inherited = inherited_environment(made.settings.given)
        self._keepers = {
            name: Keeper(process, made.layout, self._inherited, self._report)
            for name, process in made.processes.items()
        }

    async def run(self, stop: asyncio.Event) -> int:
        """Runs until `stop` is set. Returns 1 when the stack did not come up; it is down then too."""
        self._report()
        try:
            await self._keep_until(stop)
        except* StackError as group:
            self._fail(group)
        finally:
            await self._stop_all()
        return 0 if self._failure is None else 1

    async def _keep_until(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(keeper.keep(self._needed(keeper)), name=name)
                for name, keeper in self._keepers.items()
            ]
            if self._plan.preparation is not None:
                tasks.append(group.create_task(self._prepare(self._plan.preparation), name=_PREPARE))
            tasks.append(group.create_task(self._announce()))
            tasks.append(group.create_task(self._cap_logs()))
            tasks.append(group.create_task(self._renew()))
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def _prepare(self, preparation: Preparation) -> None:
        """Prepares what the services find as they start, and again what a server that was started anew may have
        lost."""
        needed = [self._keepers[name] for name in preparation.needs if name in self._keepers]
        for keeper in needed:
            await keeper.first_healthy.wait()
        # Before it is run: what ends meanwhile may lose what was prepared.
        starts = [keeper.status.restarts for keeper in needed]
        for left in reversed(range(_PREPARE_TRIES)):
            if await self._run_once(preparation):
                break
            if not left:
                raise StartFailed(_PREPARE, f"it did not end well {_PREPARE_TRIES} times")
            await asyncio.sleep(_PREPARE_PAUSE_S)
        self._prepared.set()
        while True:
            await asyncio.sleep(_PREPARE_PAUSE_S)
            now = [keeper.status.restarts for keeper in needed]
            healthy = all(keeper.status.health is Health.HEALTHY for keeper in needed)
            if now != starts and healthy and await self._run_once(preparation):
                starts = now

    async def _run_once(self, preparation: Preparation) -> bool:
        """Runs it, and answers whether it ended well."""
        with self._plan.layout.log(_PREPARE).open("ab") as log:
            running = await asyncio.create_subprocess_exec(
                *leash.command(preparation.command, sys.executable, os.getpid()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._inherited, **preparation.environment},
                cwd=ROOT,
            )
        try:
            async with asyncio.timeout(_PREPARE_LIMIT_S):
                status = await running.wait()
        except TimeoutError:
            status = -1
        finally:
            if running.returncode is None:
                running.kill()
        if status:
            logs.say(f"{_PREPARE}: it ended with status {status}, see `crown logs {_PREPARE}`")
        return not status

    async def _announce(self) -> None:
        for keeper in self._keepers.values():
            await keeper.first_healthy.wait()
        self._phase = Phase.UP
        self._report()
        logs.say("up")

    async def _cap_logs(self) -> None:
        while True:
            try:
                logs.cap(self._plan.layout)
            except OSError as error:
                logs.say(f"a log cannot be cut: {error}")
            await asyncio.sleep(_LOG_CHECK_INTERVAL_S)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_INTERVAL_S)
            try:
                self._plan.secrets.renew()
                services.renew_tokens(self._plan.settings, self._plan.secrets)
            except OSError as error:
                logs.say(f"a certificate or a token cannot be renewed: {error}")

    async def _stop_all(self) -> None:
        if self._phase is not Phase.FAILED:
            self._phase = Phase.STOPPING
        self._report()
        for layer in reversed(layers(self._plan.processes)):
            await asyncio.gather(*(self._keepers[name].stop() for name in layer))
        if self._phase is not Phase.FAILED:
            self._phase = Phase.DOWN
        self._report()
        logs.say("down")

    def _needed(self, keeper: Keeper) -> list[asyncio.Event]:
        needs = (self._keepers[name] for name in keeper.process.needs if name in self._keepers)
        prepared = [self._prepared] if keeper.process.prepared and self._plan.preparation else []
        return [*(other.first_healthy for other in needs), *prepared]

    def _fail(self, group: BaseExceptionGroup[StackError]) -> None:
        first = next(error for error in group.exceptions if isinstance(error, StackError))
        name = getattr(first, "name", "the stack")
        self._failure = StartFailed(name, getattr(first, "reason", str(first)))
        self._phase = Phase.FAILED
        logs.say(str(self._failure))

    def _report(self) -> None:
        external = [
            ProcessStatus(name, None, address, Health.EXTERNAL)
            for name, address in self._plan.external.items()
        ]
        failure = self._failure
        now = StackState(
            phase=self._phase,
            failed=failure.name if failure else None,
            reason=failure.reason if failure else None,
            processes=[*external, *(keeper.status for keeper in self._keepers.values())],
        )
        try:
            state.write(self._plan.layout, now)
        except OSError as error:
            # A full disk makes the status stale; it must not take the stack down.
            logs.say(f"the state cannot be written: {error}")


def inherited_environment(given: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in given.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    # Unbuffered: the last words of a process that is killed must be in its log.
    return {**kept, "PYTHONUNBUFFERED": "1"}


async def _run_until_signalled(made: Plan) -> int:
    stop = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    return await Supervisor(made).run(stop)


def main(only: list[str]) -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # a refused health check is no news
    settings = Settings.read()
    layout = Layout.of(settings)
    layout.make()
    with state.held(layout, os.getpid()) as mine:
        if not mine:
            logs.say(f"another supervisor runs in {layout.folder}")
            return 1
        try:
            made = plan.make(settings, only)
        except StackError as error:
            state.write(layout, StackState(phase=Phase.FAILED, failed="the stack", reason=str(error)))
            return 1
        return asyncio.run(_run_until_signalled(made))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
