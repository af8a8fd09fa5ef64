"""What the supervisor has to know of a process: how to start it, what it needs, how to see that it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

# Returns when the process serves; else raises NotReady with the reason, OSError or TimeoutError.
Probe = Callable[[], Awaitable[None]]


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the stack."""

    name: str
    command: tuple[str, ...]
    address: str  # where it mainly serves, host:port
    ports: Mapping[str, int]  # every port that it opens, by what it is for
    probe: Probe
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()  # these are healthy before it starts
    prepared: bool = False  # the plan's preparation is done before it starts
    prepare: Callable[[], None] = _nothing  # writes its configuration, before every start
    start_limit_s: float = 60  # how long the first start may take until it is healthy
    grace_s: float = 10  # from SIGTERM to SIGKILL


@dataclass(frozen=True, slots=True)
class Preparation:
    """A command that ends by itself, and is run before the processes that want to be `prepared`."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    needs: tuple[str, ...]  # these are healthy before it is run


def layers(processes: Mapping[str, Process]) -> list[list[str]]:
    """Names in the order of start: each layer needs only what stands in the layers before it."""
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            needs = [need for need in processes[name].needs if need in processes]
            depths[name] = 1 + max((depth(need) for need in needs), default=-1)
        return depths[name]

    rows: list[list[str]] = [[] for _ in range(1 + max(map(depth, processes), default=-1))]
    for name in processes:
        rows[depth(name)].append(name)
    return rows
