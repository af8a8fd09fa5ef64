"""`crown doctor`: what stands in the way of this machine's stack, and where its messages go."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from stack import checks, plan, providers
from stack.commands.examine import Finding, examine
from stack.control import Stack
from stack.errors import StackError
from stack.state import Health, ProcessStatus

_WELL = frozenset({Health.HEALTHY, Health.EXTERNAL})


def main(stack: Stack) -> bool:
    """Prints the findings; whether all is well."""
    console, well = Console(highlight=False), True
    for finding in findings(stack):
        colour = "red" if finding.bad else "green"
        console.print(f"[{colour}]{'✗' if finding.bad else '✓'}[/] {finding.name:<16}", end="")
        console.print(finding.text, markup=False, soft_wrap=True)
        well = well and not finding.bad
    return well


def findings(stack: Stack) -> Iterator[Finding]:
    """The machine, the processes, what they work with, and where each channel sends."""
    yield _machine(stack)
    yield from _processes(stack)
    if stack.supervisor_pid() is not None:
        yield from examine(stack)
    for channel in ("email", "sms", "push"):
        for text, bad in providers.told(stack.settings, stack.secrets, channel):
            yield Finding(channel, text, bad)


def _machine(stack: Stack) -> Finding:
    try:
        made = plan.make(stack.settings)
        checks.machine_fits(made.processes)
        if stack.supervisor_pid() is None:
            checks.ports_free(made.processes.values(), stack.settings.gateway_host)
    except StackError as error:
        return Finding("machine", str(error), bad=True)
    return Finding("machine", f"fits; the stack is in {stack.layout.folder}")


def _processes(stack: Stack) -> Iterator[Finding]:
    if stack.supervisor_pid() is None:
        yield Finding("stack", "it is down: `crown up`", bad=True)
        return
    unwell = [one for one in stack.status() if one.health not in _WELL]
    for one in unwell:
        yield Finding(one.name, _complaint(one), bad=True)
    if not unwell:
        yield Finding("stack", f"{len(stack.status())} processes and servers are healthy")


def _complaint(one: ProcessStatus) -> str:
    ended = f", ended with {one.last_exit}" if one.last_exit else ""
    detail = f": {one.detail}" if one.detail else ""
    return f"{one.health}{ended}{detail}; see `crown logs {one.name}`"
