"""Memory of a process, and of the kernel for sockets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: resident in the process, of these its own share, and the kernel's for all that it keeps in caches of
    objects, sockets among them."""

    resident: int
    own: int
    kernel: int

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Now."""
        found = psutil.Process(pid).memory_full_info()
        return cls(found.rss, found.pss, _slab_bytes())

    def since(self, before: Memory, count: int) -> Memory:
        """What each of `count` took since `before`."""
        return Memory(
            (self.resident - before.resident) // count,
            (self.own - before.own) // count,
            (self.kernel - before.kernel) // count,
        )


def _slab_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Slab":
            return int(value.split()[0]) * 1024
    return 0
