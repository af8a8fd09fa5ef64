"""A connection to NATS that only publishes and needs no event loop: whoever counts a million frames a second has
no time for one."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from bench.child import BenchError

_LIMIT_S = 5.0
_PONG = b"PONG\r\n"


class Bus:
    """`given` is what `Site.nats` gives. Raises BenchError where the server does not let it in."""

    def __init__(self, given: Mapping[str, str]) -> None:
        at = urlsplit(given["url"])
        self._socket = socket.create_connection((at.hostname, at.port), timeout=_LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = {"verbose": False, "user": given["user"], "pass": given["password"]}
        self._socket.sendall(b"CONNECT %s\r\nPING\r\n" % json.dumps(hello).encode())
        self._wait_for_pong()

    def publish(self, subject: str, body: bytes) -> None:
        """Publishes; nobody says that it arrived."""
        self._socket.sendall(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(body), body))

    def beat(self) -> None:
        """Shows that it is there, which the server asks for every two minutes, and that all before arrived."""
        self._socket.sendall(_PONG + b"PING\r\n")
        self._wait_for_pong()

    def close(self) -> None:
        """Ends it."""
        self._socket.close()

    def _wait_for_pong(self) -> None:
        heard = b""
        while _PONG not in heard:
            chunk = self._socket.recv(65_536)
            heard += chunk
            if not chunk or b"-ERR" in heard:
                raise BenchError(f"NATS says {heard[-100:]!r}")
