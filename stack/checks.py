"""What can be known before anything starts: does the machine fit, are the ports free."""

from __future__ import annotations

import errno
import os
import platform
import socket
import time
from collections.abc import Iterable

import psutil

from stack import elsewhere
from stack.errors import StackError
from stack.plan import GATEWAY
from stack.process import Process
from stack.settings import LOOPBACK

# What the wheels were built for; Envoy asks more than NATS and Valkey.
_OLDEST_GLIBC = {"mongod": (2, 34), GATEWAY: (2, 30)}

_FROM_WHEELS = frozenset({"mongod", "nats", "valkey", GATEWAY})

# What a killed supervisor left behind lets go of its ports within this time.
_PATIENCE_S = 1.0


def machine_fits(servers: Iterable[str]) -> None:
    """Raises StackError where the wheel of one of these servers does not run."""
    glibc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    for server in servers:
        if server in _FROM_WHEELS:
            misfit = misfit_of(server, platform.system(), platform.machine(), glibc or "")
            if misfit is not None:
                raise StackError(misfit)


def misfit_of(server: str, system: str, processor: str, glibc: str) -> str | None:
    """Why the wheel of `server` does not run on such a machine; None when it does."""
    oldest = _OLDEST_GLIBC.get(server, (2, 17))
    if (system, processor) != ("Linux", "x86_64"):
        found = f"{system} {processor}"
    elif not glibc.startswith("glibc ") or _version(glibc) < oldest:
        found = f"Linux with {glibc or 'another C library'}"
    else:
        return None
    variable = elsewhere.variable_of(server)
    ways = "use compose.yaml" + (f", or name a server in {variable}" if variable else "")
    return f"{server} comes in a wheel for Linux x86_64 with glibc {_dotted(oldest)}, here is {found}: {ways}"


def ports_free(processes: Iterable[Process], gateway_host: str) -> None:
    """Raises StackError for the first port that is taken, naming its owner and the variable to change."""
    for process in processes:
        for purpose, port in process.ports.items():
            host = gateway_host if purpose == GATEWAY else LOOPBACK
            if not _becomes_free(host, port):
                raise StackError(port_taken(process.name, purpose, port, owner_of(port)))


def port_taken(process: str, purpose: str, port: int, owner: str) -> str:
    ways = ["set CROWN_STACK_PORT_BASE to move the whole stack"]
    if purpose == GATEWAY:
        ways.insert(0, "set NOTIFICATION_SERVICE_PORT to move the gateway")
    if variable := elsewhere.variable_of(process):
        ways.append(f"name that server in {variable}")
    return f"port {port} ({purpose}) is in use by {owner}: stop it, or {', or '.join(ways)}"


def owner_of(port: int) -> str:
    """Name and pid of the process that listens on the port, as far as this user may see it."""
    for connection in psutil.net_connections("tcp"):
        listens = (
            connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        )
        if listens and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                break
    return "a process of another user"


def _becomes_free(host: str, port: int) -> bool:
    limit = time.monotonic() + _PATIENCE_S
    while not _free(host, port):
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a port is free although old connections on it have not quite ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise StackError(f"port {port} on {host} cannot be opened: {error.strerror}") from error
    return True


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _version(glibc: str) -> tuple[int, ...]:
    return tuple(int(part) for part in glibc.split()[1].split(".")[:2])
