"""What a row measures on: a stack of its own, for how long, and what its processes use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from stack.control import Stack
from stack.secrets import read

SENDER = "bench"


@dataclass(frozen=True, slots=True)
class Site:
    """`quick` asks for figures in seconds, which say less."""

    stack: Stack
    quick: bool

    @property
    def rounds(self) -> int:
        """Rounds of A and B."""
        return 2 if self.quick else 5

    @property
    def seconds(self) -> float:
        """How long one side of a round is measured."""
        return 2.0 if self.quick else 5.0

    @property
    def few(self) -> int:
        """Rounds where many figures are made, and opening takes longer than measuring."""
        return 1 if self.quick else 3

    @property
    def warm_s(self) -> float:
        """How long it runs before that."""
        return 0.5 if self.quick else 1.0

    def bearer(self) -> tuple[str, str]:
        """The metadata of a service that may send."""
        token = self.stack.token(service=SENDER, scopes=["notifications.send"])
        return ("authorization", f"Bearer {token}")

    def cpu_s(self, pid: int) -> float:
        """CPU seconds that a process has used, in all its threads."""
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)

    def nats(self) -> dict[str, str]:
        """Where NATS is, and a user who may do everything there."""
        given = self.stack.environment("operator")
        return {
            "url": given["NATS_URL"],
            "user": given["NATS_USER"],
            "password": read(Path(given["NATS_PASSWORD_FILE"])),
        }
