"""Which port each process listens on: fixed distances from one base, so that stacks lie side by side."""

from __future__ import annotations

from dataclasses import dataclass

from stack.errors import StackError

DEFAULT_BASE = 3000

_HIGHEST_DISTANCE = 79

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
}


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the stack at `base`; `gateway` alone can be named apart (NOTIFICATION_SERVICE_PORT)."""

    base: int
    gateway: int

    @classmethod
    def at(cls, base: int, gateway: int | None = None) -> Ports:
        """Raises StackError when the last port would not exist, or the first needs root."""
        if not 1024 <= base <= 65535 - _HIGHEST_DISTANCE:
            highest = 65535 - _HIGHEST_DISTANCE
            raise StackError(f"CROWN_STACK_PORT_BASE is {base}: it must lie between 1024 and {highest}")
        return cls(base, base + 5 if gateway is None else gateway)

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
    def websocket(self) -> int:
        return self.base + 40

    @property
    def longpoll(self) -> int:
        return self.base + 41

    @property
    def valkey(self) -> int:
        return self.base + 79

    def grpc(self, process: str) -> int:
        """Where the service process answers gRPC and its health."""
        return self.base + _SERVICES[process][0]

    def metrics(self, process: str) -> int:
        """Where the service process shows its Prometheus page."""
        return self.base + _SERVICES[process][1]
