"""Runs a stack from Python: what `crown` does, and what tests, the benchmark and fault runs use.

    with Stack(13100, only=["nats"]) as stack:
        pid = stack.kill("nats", signal.SIGKILL)
        stack.wait_healthy("nats", after_pid=pid)

Everything here is synchronous; the processes live under a supervisor of their own and outlast this object.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from stack import logs, plan, services, state, tokens
from stack.errors import StackError, StartFailed
from stack.layout import Layout
from stack.secrets import OPERATOR, Secrets
from stack.settings import ROOT, Settings
from stack.state import Health, Phase, ProcessStatus, StackState

if TYPE_CHECKING:
    import grpc

UP_LIMIT_S = 120.0
_DOWN_LIMIT_S = 60.0
_POLL_INTERVAL_S = 0.05

_SERVES = frozenset({Health.HEALTHY, Health.EXTERNAL})


class Stack:
    """One stack on one machine. Several lie side by side on different port bases.

    `only` names the processes to start (what they need comes along), none means all; `home` holds the stacks'
    folders; `env` is set on top of the caller's environment, as in `NATS_URL=… crown up`.
    """

    def __init__(
        self,
        port_base: int | None = None,
        home: Path | None = None,
        only: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = {**os.environ, **(env or {})}
        if port_base is not None:
            self._environment["CROWN_STACK_PORT_BASE"] = str(port_base)
        if home is not None:
            self._environment["CROWN_STACK_HOME"] = str(home)
        self._only = tuple(only)
        self._started: subprocess.Popen[bytes] | None = None
        self.settings = Settings.read(self._environment)
        self.layout = Layout.of(self.settings)
        self.secrets = Secrets(self.layout.secrets)

    def __enter__(self) -> Stack:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(
        self, timeout_s: float = UP_LIMIT_S, progress: Callable[[ProcessStatus], None] | None = None
    ) -> None:
        """Starts the stack and returns when all of it is healthy. Does nothing when it is up.

        `progress` hears of each change of a process. Raises StackError with one clear line when the machine
        does not fit or a port is taken; StartFailed when a process does not come up: the stack is down again.
        """
        if self.supervisor_pid() is not None:
            self._must_run_wanted()
            self._wait_up(timeout_s, progress)
            return
        self._launch()
        try:
            self._wait_up(timeout_s, progress)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Stops all processes in reverse order and keeps their data. Does nothing when the stack is down."""
        pid = self.supervisor_pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            limit = time.monotonic() + _DOWN_LIMIT_S
            while self.supervisor_pid() is not None:
                if time.monotonic() > limit:
                    raise StackError(f"the supervisor (pid {pid}) did not stop in {_DOWN_LIMIT_S:g} s")
                time.sleep(_POLL_INTERVAL_S)
        self._reap()

    def clean(self) -> None:
        """Stops the stack and deletes its folder: data, logs and secrets."""
        self.down()
        if self.layout.folder.exists():
            shutil.rmtree(self.layout.folder)

    def state(self) -> StackState:
        return state.read(self.layout)

    def status(self) -> list[ProcessStatus]:
        """Every process and server as the supervisor reported it last; it probes them every two seconds."""
        return self.state().processes

    def healthy(self) -> bool:
        """Whether the stack is up and every process of it serves."""
        now = self.state()
        return now.phase is Phase.UP and all(one.health in _SERVES for one in now.processes)

    def of(self, name: str) -> ProcessStatus:
        """The status of one process. Raises StackError when the stack has none of that name."""
        for one in self.status():
            if one.name == name:
                return one
        raise StackError(f"{name} is not part of the stack in {self.layout.folder}")

    def pid(self, name: str) -> int:
        """The process' pid. Raises StackError while it has none."""
        pid = self.of(name).pid
        if pid is None:
            raise StackError(f"{name} does not run")
        return pid

    def address(self, name: str) -> str:
        """Where the process serves, host:port."""
        return self.of(name).address

    def channel(self, name: str) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        """A gRPC channel to the process, past the gateway."""
        # Late: gRPC takes a while to load.
        from stack import links

        kind = next((role.kind for role in services.roles(self.settings.given) if role.name == name), name)
        return links.channel(self.address(name), services.shown(self.settings, self.secrets), kind)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Sends a signal to the process and returns its pid, by which `wait_healthy` tells old from new."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def wait_healthy(self, name: str, after_pid: int | None = None, timeout_s: float = 30) -> ProcessStatus:
        """Returns when the process is healthy and, given `after_pid`, is another one than that."""
        return self.wait(name, lambda one: one.health in _SERVES and one.pid != after_pid, timeout_s)

    def wait(self, name: str, done: Callable[[ProcessStatus], bool], timeout_s: float = 30) -> ProcessStatus:
        """Returns the status of the process as soon as `done` accepts it. Raises TimeoutError."""
        limit = time.monotonic() + timeout_s
        while not done(one := self.of(name)):
            if time.monotonic() > limit:
                raise TimeoutError(f"{name} after {timeout_s:g} s: {one}")
            time.sleep(_POLL_INTERVAL_S)
        return one

    def token(
        self,
        user: str | None = None,
        service: str | None = None,
        operator: str | None = None,
        *,
        scopes: Sequence[str] = (),
        ttl_s: int = tokens.DEFAULT_TTL_S,
        session: str = "",
    ) -> str:
        """A token for one of a user, a service, an operator. A negative `ttl_s` gives an expired one."""
        named = [
            (use, subject)
            for use, subject in (
                (tokens.Use.USER, user),
                (tokens.Use.SERVICE, service),
                (tokens.Use.OPERATOR, operator),
            )
            if subject
        ]
        if len(named) != 1:
            raise StackError("a token is for one of: a user, a service, an operator")
        self.layout.make()
        use, subject = named[0]
        return tokens.sign(self.secrets, use, subject, scopes=scopes, ttl_s=ttl_s, session=session)

    def environment(self, name: str) -> dict[str, str]:
        """The settings that the service process `name` gets, to run it by hand or to connect as it.

        `operator` has the addresses and credentials of one who may do everything in NATS, MongoDB and Valkey.
        """
        self.layout.make()
        if name == OPERATOR:
            return services.connections(self.settings, self.secrets, OPERATOR)
        for role in services.roles(self.settings.given):
            if role.name == name:
                return services.environment(self.settings, self.secrets, role)
        raise StackError(f"no service process is called {name}")

    def log_tail(self, name: str, lines: int = 20) -> list[str]:
        return logs.tail(self.layout.log(name), lines)

    def supervisor_pid(self) -> int | None:
        return state.supervisor_pid(self.layout)

    def _launch(self) -> None:
        # Late: psutil is of no use to those who only ask for a token.
        from stack import checks

        self._reap()
        made = plan.make(self.settings, self._only)
        checks.machine_fits(made.processes)
        checks.ports_free(made.processes.values(), self.settings.gateway_host)
        state.write(self.layout, StackState(phase=Phase.STARTING))
        with self.layout.log("supervisor").open("ab") as log:
            self._started = subprocess.Popen(
                [sys.executable, "-m", "stack.supervisor", *self._only],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,
            )

    def _wait_up(self, timeout_s: float, progress: Callable[[ProcessStatus], None] | None) -> None:
        limit = time.monotonic() + timeout_s
        told: dict[str, tuple[Health, int | None]] = {}
        while True:
            now = self.state()
            if progress is not None:
                _tell(now.processes, told, progress)
            if now.phase is Phase.UP and all(one.health in _SERVES for one in now.processes):
                return
            self._must_not_have_failed(now)
            if time.monotonic() > limit:
                late = next((one for one in now.processes if one.health not in _SERVES), None)
                name = late.name if late else "the supervisor"
                raise StartFailed(name, f"after {timeout_s:g} s: {(late and late.detail) or 'no answer'}")
            time.sleep(_POLL_INTERVAL_S)

    def _must_not_have_failed(self, now: StackState) -> None:
        if now.phase is Phase.FAILED:
            raise StartFailed(now.failed or "the stack", now.reason or "unknown")
        if self._started is not None and self._started.poll() is not None:
            # It may have said why between the reading above and its end.
            if self.state().phase is not Phase.FAILED:
                raise StartFailed("supervisor", f"it ended with status {self._started.returncode}")
        elif now.phase is Phase.STOPPING:
            raise StackError("the stack is being stopped")

    def _must_run_wanted(self) -> None:
        running = {one.name for one in self.status()}
        missing = [name for name in plan.wanted(self._only, self.settings.given) if name not in running]
        if running and missing:
            raise StackError(f"the stack runs without {', '.join(missing)}: `crown down` first")

    def _reap(self) -> None:
        if self._started is not None:
            self._started.wait()
            self._started = None


def _tell(
    processes: Iterable[ProcessStatus],
    told: dict[str, tuple[Health, int | None]],
    progress: Callable[[ProcessStatus], None],
) -> None:
    for one in processes:
        if told.get(one.name) != (one.health, one.pid):
            told[one.name] = (one.health, one.pid)
            progress(one)
