"""What `crown` prints for people: the progress of a start, the table of processes, what to try next."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

from stack.control import Stack
from stack.plan import GATEWAY
from stack.ports import DEFAULT_BASE
from stack.state import Health, Phase, ProcessStatus

_COLOURS = {
    Health.HEALTHY: "green",
    Health.EXTERNAL: "green",
    Health.STOPPED: "dim",
    Health.UNHEALTHY: "red",
    Health.RESTARTING: "red",
}

_COLUMN = 26


class Progress:
    """Prints each process as it becomes healthy, and on a terminal what is still awaited."""

    def __init__(self, stack: Stack) -> None:
        self._console = Console(highlight=False)
        self._spinner = self._console.status("starting")
        self._pending: dict[str, Health] = {}
        self._began = time.monotonic()
        if stack.supervisor_pid() is None:
            base, folder = stack.settings.ports.base, path(stack.layout.folder)
            self._console.print(f"Starting on ports {base}…, state in {folder}")

    def __enter__(self) -> Progress:
        self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spinner.stop()

    def tell(self, one: ProcessStatus) -> None:
        """Takes one change of a process."""
        if one.health in (Health.HEALTHY, Health.EXTERNAL):
            self._pending.pop(one.name, None)
            after_s = time.monotonic() - self._began
            self._console.print(
                f"  {one.name:<{_COLUMN}} {one.address:<22} [green]{one.health}[/] [dim]{after_s:5.1f} s[/]"
            )
        else:
            self._pending[one.name] = one.health
        if one.health is Health.RESTARTING:
            self._console.print(f"  {one.name:<{_COLUMN}} [red]{one.last_exit}[/], starts again")
        waiting = [name for name, health in self._pending.items() if health is not Health.WAITING]
        self._spinner.update(f"waiting for {', '.join(waiting)}" if waiting else "starting")


def table(stack: Stack, processes: Sequence[ProcessStatus]) -> None:
    """The processes as `crown status` shows them, and where to see more of them."""
    state = stack.state()
    rows = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("name", "pid", "address", "health", "restarts", "since", "last exit"):
        rows.add_column(title, no_wrap=True)
    for one in processes:
        colour = _COLOURS.get(one.health, "yellow")
        rows.add_row(
            one.name,
            str(one.pid or ""),
            one.address,
            f"[{colour}]{one.health}[/]",
            str(one.restarts),
            (one.since or "").partition(".")[0],
            one.last_exit or "",
        )
    # Wider than a narrow terminal: cut names are of no use to anybody.
    console = Console(highlight=False, width=160)
    console.print(f"The stack on ports {stack.settings.ports.base}… is {state.phase}")
    if state.phase is Phase.FAILED:
        console.print(f"[red]{state.failed} did not become healthy: {state.reason}[/]")
    console.print(rows)
    if any(one.name == GATEWAY and one.health is Health.HEALTHY for one in processes):
        # A line of its own, however long: it is to be followed.
        print(f"The console: {address_of_console(stack)}")


def overview(stack: Stack) -> None:
    """What runs where is on the screen already; here are tokens and three commands to try."""
    processes = stack.status()
    if not any(one.name == GATEWAY for one in processes):
        print(f"up: {', '.join(one.name for one in processes)}")
        return
    gateway = f"http://localhost:{stack.settings.ports.gateway}"
    ports = stack.settings.ports
    crown = command(stack)
    print(f"""
The suite is up at {gateway}. E-mails: http://localhost:{ports.mailbox_http}/messages,
what the other providers got, and buttons to break them: http://localhost:{ports.sandbox}

The demo page, as user123:
{demo(stack, "user123")}

The console, as an operator:
{address_of_console(stack)}

Token of user123 (a user):
{stack.token(user="user123")}

Token of feed (a service that sends):
{stack.token(service="feed")}

Try:
  curl -s {gateway}/api/v1/notifications -H "Authorization: Bearer $({crown} token --service feed)" \\
    -H 'Content-Type: application/json' -d '{{"type": "push", "user_id": "user123", "data": {{
    "title": "New Message", "message": "You have a new message from John", "action_url": "/messages/123"}}}}'

  curl -s '{gateway}/api/v1/users/user123/notifications?page=1&limit=20' \\
    -H "Authorization: Bearer $({crown} token --user user123)"

  {crown} demo""")


def demo(stack: Stack, user: str) -> str:
    """The address of the demo page for `user`. The token follows the #, which a browser sends to nobody."""
    given = urlencode({"user": user, "token": stack.token(user=user)})
    return f"http://localhost:{stack.settings.ports.gateway}/demo#{given}"


def address_of_console(stack: Stack) -> str:
    """The address of the console with the token of an operator, which the page takes out of it at once."""
    given = urlencode({"token": stack.token(operator="operator")})
    return f"http://localhost:{stack.settings.ports.gateway}/console#{given}"


def log_line(name: str, line: str, width: int) -> None:
    """One line of a log, with its process in front unless only one is shown."""
    sys.stdout.write(f"{name:<{width}} | {line}\n" if width else f"{line}\n")


def command(stack: Stack) -> str:
    """How to call `crown` from the present folder."""
    ours = Path(sys.executable).parent / "crown"
    # make puts our folder on its own path, which is not that of who will type this.
    found = None if "MAKELEVEL" in stack.settings.given else shutil.which("crown")
    base = stack.settings.ports.base
    prefix = "" if base == DEFAULT_BASE else f"CROWN_STACK_PORT_BASE={base} "
    return prefix + ("crown" if found and Path(found).resolve() == ours.resolve() else path(ours))


def path(target: Path) -> str:
    """A path as one types it: relative where it lies below the present folder."""
    try:
        return str(target.relative_to(Path.cwd()))
    except ValueError:
        return str(target)
