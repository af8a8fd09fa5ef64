"""The supervisor with small processes of our own: order, restarts, failures, the end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stack import state
from stack.errors import NotReady
from stack.layout import Layout
from stack.plan import Plan
from stack.process import Preparation, Process
from stack.secrets import Secrets
from stack.settings import Settings
from stack.state import Health, Phase, ProcessStatus, StackState
from stack.supervisor import Supervisor

# Notes its start, its SIGTERM, and then that it is ready. {folder} and {name} are filled in.
WELL = """
import pathlib, signal, sys, time
folder, name = pathlib.Path({folder!r}), {name!r}
def note(what):
    with (folder / "events").open("a") as events:
        events.write(what + " " + name + "\\n")
def end(*_):
    note("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("start")
(folder / name).touch()
while True:
    time.sleep(1)
"""


class Bench:
    """A folder in which small processes run under a supervisor."""

    def __init__(self, folder: Path) -> None:
        settings = Settings.read({**os.environ, "CROWN_STACK_HOME": str(folder)})
        self.folder = folder
        self.layout = Layout.of(settings)
        self.layout.make()
        self.plan = Plan(settings, self.layout, Secrets(self.layout.secrets), {}, {})
        self.stop = asyncio.Event()

    def add(
        self,
        name: str,
        code: str = WELL,
        needs: tuple[str, ...] = (),
        start_limit_s: float = 20,
        grace_s: float = 10,
    ) -> None:
        async def probe() -> None:
            if not (self.folder / name).exists():
                raise NotReady("its file is not there")

        source = code.format(folder=str(self.folder), name=name) if code is WELL else code
        self.plan.processes[name] = Process(
            name=name,
            command=(sys.executable, "-c", source),
            address="",
            ports={},
            probe=probe,
            needs=needs,
            start_limit_s=start_limit_s,
            grace_s=grace_s,
        )

    def events(self) -> list[str]:
        path = self.folder / "events"
        return path.read_text().splitlines() if path.exists() else []

    def now(self) -> StackState:
        # No supervisor's lock is held here: read the file as it was written.
        with state.held(self.layout, os.getpid()):
            return state.read(self.layout)

    def of(self, name: str) -> ProcessStatus:
        return next(one for one in self.now().processes if one.name == name)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():  # noqa: ASYNC110 - what it waits for happens in other processes
                await asyncio.sleep(0.02)

    async def run(self, while_up: Callable[[], Awaitable[None]]) -> int:
        """Runs the supervisor, `while_up` once all is healthy, and stops it."""
        async with asyncio.TaskGroup() as group:
            running = group.create_task(Supervisor(self.plan).run(self.stop))
            await self.until(lambda: self.now().phase is Phase.UP)
            await while_up()
            self.stop.set()
        return running.result()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def nothing() -> None:
    pass


def preparing(bench: Bench, code: str) -> Preparation:
    """A preparation of the bench that notes that it was made, and then runs `code`."""
    note = f"open({str(bench.folder / 'events')!r}, 'a').write('prepare\\n'); "
    return Preparation((sys.executable, "-c", note + code), {}, needs=("store",))


async def test_what_has_to_be_prepared_waits_until_it_is(bench: Bench) -> None:
    bench.add("store")
    bench.add("service", needs=("store",))
    bench.plan.processes["service"] = replace(bench.plan.processes["service"], prepared=True)
    bench.plan = replace(bench.plan, preparation=preparing(bench, "pass"))
    assert await bench.run(nothing) == 0
    assert bench.events()[:3] == ["start store", "prepare", "start service"]


async def test_what_a_server_may_have_lost_is_prepared_again(bench: Bench) -> None:
    bench.add("store")
    bench.plan = replace(bench.plan, preparation=preparing(bench, "pass"))

    async def kill() -> None:
        await bench.until(lambda: bench.events().count("prepare") == 1)
        pid = bench.of("store").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await bench.until(lambda: bench.events().count("prepare") == 2)

    assert await bench.run(kill) == 0


async def test_a_stack_that_cannot_be_prepared_does_not_come_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.supervisor._PREPARE_PAUSE_S", 0.05)
    bench.add("store")
    bench.add("service", needs=("store",))
    bench.plan.processes["service"] = replace(bench.plan.processes["service"], prepared=True)
    bench.plan = replace(bench.plan, preparation=preparing(bench, "raise SystemExit(1)"))
    assert await Supervisor(bench.plan).run(bench.stop) == 1
    assert bench.now().failed == "prepare"
    assert "start service" not in bench.events()
    assert bench.events().count("prepare") == 3


async def test_needs_start_first_and_end_last(bench: Bench) -> None:
    bench.add("gateway", needs=("service",))
    bench.add("service", needs=("store",))
    bench.add("store")
    assert await bench.run(nothing) == 0
    assert bench.events() == [
        "start store",
        "start service",
        "start gateway",
        "end gateway",
        "end service",
        "end store",
    ]
    assert {one.health for one in bench.now().processes} == {Health.STOPPED}


async def test_a_killed_process_is_started_again_and_the_others_stay(bench: Bench) -> None:
    bench.add("store")
    bench.add("service", needs=("store",))

    async def kill() -> None:
        first, service = bench.of("store"), bench.of("service")
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        await bench.until(
            lambda: bench.of("store").restarts == 1 and bench.of("store").health is Health.HEALTHY
        )
        again = bench.of("store")
        assert again.pid != first.pid
        assert again.last_exit == "killed by SIGKILL"
        assert bench.of("service").pid == service.pid

    assert await bench.run(kill) == 0


async def test_crashes_in_a_row_wait_longer_each_time(bench: Bench) -> None:
    bench.add("store")

    async def kill_twice() -> None:
        for number in (1, 2):
            pid = bench.of("store").pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await bench.until(lambda number=number: bench.of("store").restarts == number)  # type: ignore[misc]
            await bench.until(lambda: bench.of("store").health is Health.HEALTHY)

    loop = asyncio.get_running_loop()
    began = loop.time()
    await bench.run(kill_twice)
    assert loop.time() - began > 0.25 + 0.5


async def test_what_ends_at_once_brings_everything_down_with_its_reason(bench: Bench) -> None:
    bench.add("store")
    bench.add("service", "raise SystemExit('CROWN_DATA_KEY is missing')")
    assert await Supervisor(bench.plan).run(bench.stop) == 1
    found = bench.now()
    assert (found.phase, found.failed) == (Phase.FAILED, "service")
    assert found.reason == "it ended 3 times (exit status 1)"
    assert "CROWN_DATA_KEY is missing" in bench.layout.log("service").read_text()
    assert bench.events()[-1] == "end store"


async def test_what_never_serves_is_named_after_its_limit(bench: Bench) -> None:
    bench.add("service", "import time; time.sleep(60)", start_limit_s=0.5)
    assert await Supervisor(bench.plan).run(bench.stop) == 1
    assert bench.now().failed == "service"
    assert bench.now().reason == "after 0.5 s: its file is not there"


async def test_what_does_not_heed_sigterm_is_killed_after_its_grace(bench: Bench) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)"
    bench.add("service", deaf, grace_s=0.3)
    (bench.folder / "service").touch()
    assert await bench.run(nothing) == 0
    assert bench.of("service").health is Health.STOPPED


async def test_a_stopped_process_is_unhealthy_only_by_its_probe_and_still_ends(bench: Bench) -> None:
    bench.add("service")

    async def freeze() -> None:
        pid = bench.of("service").pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        (bench.folder / "service").unlink()
        await bench.until(lambda: bench.of("service").health is Health.UNHEALTHY)
        assert bench.of("service").pid == pid

    assert await bench.run(freeze) == 0
    assert bench.events() == ["start service", "end service"]


async def test_processes_inherit_nothing_of_the_caller_s_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "hush")
    bench = Bench(tmp_path)
    bench.add("service", "import os, time; print(dict(os.environ)); time.sleep(60)")
    (bench.folder / "service").touch()

    async def look() -> None:
        await bench.until(lambda: "PATH" in bench.layout.log("service").read_text())

    await bench.run(look)
    assert "hush" not in bench.layout.log("service").read_text()
