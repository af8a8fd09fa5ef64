"""Which port each process listens on: fixed distances from one base, so that stacks lie side by side. What a role is
scaled to beyond its first process lies well away from all of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stack.errors import StackError

DEFAULT_BASE = 3000

_HIGHEST_DISTANCE = 79

# Where the blocks of further processes begin, a block each: gRPC, metrics, WebSocket, long polling.
_BLOCKS = 1_000
_BLOCK = 4

# service process -> (gRPC, metrics), as distances from the base
_SERVICES = {
    "ingest-api": (30, 50),
    "ingest-dispatch-critical": (31, 51),
    "ingest-dispatch": (32, 52),
    "ingest-record": (33, 53),
    "email": (34, 54),
    "push": (35, 55),
    "sms": (36, 56),
    "realtime": (37, 57),
    "realtime-relay": (38, 58),
    "ingest-webhook": (39, 59),
    "ingest-filter": (42, 62),
    "prepare": (43, 63),
}


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the stack at `base`; `gateway` alone can be named apart (NOTIFICATION_SERVICE_PORT)."""

    base: int
    gateway: int
    blocks: Mapping[str, int] = field(default_factory=dict)
    """The first port of each further process."""

    @classmethod
    def at(cls, base: int, gateway: int | None = None, more: Sequence[str] = ()) -> Ports:
        """`more` are further processes of roles. Raises StackError when the last port would not exist, or the first
        needs root."""
        last = _BLOCKS + (len(more) + 1) * _BLOCK if more else _HIGHEST_DISTANCE
        if not 1024 <= base <= 65535 - last:
            raise StackError(f"CROWN_STACK_PORT_BASE is {base}: it must lie between 1024 and {65535 - last}")
        moved = base + 5 if gateway is None else gateway
        starts = range(base + _BLOCKS, base + last + 1, _BLOCK)
        free = (start for start in starts if not start <= moved < start + _BLOCK)
        return cls(base, moved, dict(zip(more, free, strict=False)))

    @property
    def envoy_admin(self) -> int:
        return self.base + 6

    @property
    def mailbox_http(self) -> int:
        return self.base + 8

    @property
    def sandbox(self) -> int:
        return self.base + 9

    @property
    def mongod(self) -> int:
        return self.base + 17

    @property
    def nats(self) -> int:
        return self.base + 22

    @property
    def nats_monitor(self) -> int:
        return self.base + 23

    @property
    def mailbox_smtp(self) -> int:
        return self.base + 25

    @property
    def valkey(self) -> int:
        return self.base + 79

    def grpc(self, process: str) -> int:
        """Where the service process answers gRPC and its health."""
        return self.blocks[process] if process in self.blocks else self.base + _SERVICES[process][0]

    def metrics(self, process: str) -> int:
        """Where the service process shows its Prometheus page."""
        return self.blocks[process] + 1 if process in self.blocks else self.base + _SERVICES[process][1]

    def websocket(self, process: str = "realtime") -> int:
        """Where the realtime process takes sockets."""
        return self.blocks[process] + 2 if process in self.blocks else self.base + 40

    def longpoll(self, process: str = "realtime") -> int:
        """Where the realtime process is polled."""
        return self.blocks[process] + 3 if process in self.blocks else self.base + 41

    def processes(self, role: str) -> list[str]:
        """The names of the processes that a role has: its own, and those that it is scaled to."""
        return [role, *(name for name in self.blocks if name.rpartition("-")[0] == role)]
