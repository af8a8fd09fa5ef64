"""A small server that plays Sentry: takes envelopes from its SDK and keeps them."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Sentry(ThreadingHTTPServer):
    """What came, each as path, key and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Envelopes)
        self.taken: list[tuple[str, str, bytes]] = []

    @property
    def dsn(self) -> str:
        """What the SDK is told."""
        return f"http://publickey@127.0.0.1:{self.server_address[1]}/42"

    def events(self) -> list[dict[str, Any]]:
        """The events of all envelopes: a line of the envelope, then of each item a header and the item."""
        found = []
        for _, _, body in self.taken:
            lines = body.split(b"\n")[1:]
            for header, item in zip(lines[::2], lines[1::2], strict=False):
                if header and json.loads(header)["type"] == "event":
                    found.append(json.loads(item))
        return found


class Envelopes(BaseHTTPRequestHandler):
    """POST /api/<project>/envelope/."""

    server: Sentry

    def do_POST(self) -> None:
        """Keeps it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.taken.append((self.path, self.headers.get("X-Sentry-Auth", ""), body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def listening() -> Iterator[Sentry]:
    """One on loopback."""
    with Sentry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
