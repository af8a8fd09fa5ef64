"""Somebody else at the gateway, while one client does what it should not."""

from __future__ import annotations

import http.client
import threading
import time

import psutil


class Others(threading.Thread):
    """Somebody else, who calls all the while: the gateway itself, and with `token` a service behind it; and looks how
    large `process`, the gateway, becomes. In a thread: the loop of the test is busy."""

    def __init__(self, process: psutil.Process, port: int, path: str, token: str) -> None:
        super().__init__()
        self._process = process
        self._port = port
        self._calls: tuple[tuple[str, dict[str, str]], ...] = (
            ("/healthz", {}),
            (path, {"Authorization": f"Bearer {token}"}),
        )
        self.enough = threading.Event()
        self.statuses: set[int] = set()
        # By path.
        self.took_s: dict[str, list[float]] = {called: [] for called, _ in self._calls}
        self.largest_bytes = 0

    def run(self) -> None:
        """Calls until it is enough, and once at least."""
        while not (self.statuses and self.enough.wait(0.05)):
            for path, headers in self._calls:
                began = time.monotonic()
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                answer.read()
                self.statuses.add(answer.status)
                connection.close()
                self.took_s[path].append(time.monotonic() - began)
            self.largest_bytes = max(self.largest_bytes, self._process.memory_info().rss)

    def told(self) -> str:
        """What 99 of 100 calls took at most."""
        slowest = {path: sorted(took)[int(0.99 * (len(took) - 1))] for path, took in self.took_s.items()}
        return ", ".join(f"p99 of {path} {1_000 * took_s:.1f} ms" for path, took_s in slowest.items())
