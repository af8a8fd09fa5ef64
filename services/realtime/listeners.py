"""The ports that clients come to: bound here, or inherited from the supervisor of several processes, which has bound
them for all."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from crown import logs, tls, uncaught
from crown.settings import SettingsError
from crown.tls import Identity
from services.realtime import inherited
from services.realtime.settings import Settings

log = logs.get(__name__)

WEBSOCKET = "websocket"
LONGPOLL = "longpoll"

# Lets connections in at a port, by TLS where there is something to show; whoever did before no longer does.
Listen = Callable[[socket.socket, ssl.SSLContext | None], Awaitable[None]]

BACKLOG = 4_096
# Bytes that the kernel keeps for a client that does not read; it doubles what is asked.
_KERNEL_QUEUE_BYTES = 128 << 10
_HANDSHAKE_FAILED = "SSL handshake failed"


def ports(settings: Settings) -> dict[str, tuple[str, int]]:
    """Each port by its name: the setting that says it, and the number."""
    return {
        WEBSOCKET: ("CROWN_WEBSOCKET_PORT", settings.websocket_port),
        LONGPOLL: ("CROWN_LONGPOLL_PORT", settings.longpoll_port),
    }


def take(settings: Settings, name: str) -> socket.socket:
    """The port `name`, inherited or bound. Raises SettingsError where it is not to be had."""
    descriptor = inherited.read(settings.inherited).get(name)
    if descriptor is None:
        setting, port = ports(settings)[name]
        return bind(settings.bind, port, setting)
    try:
        return socket.socket(fileno=descriptor)
    except OSError:
        raise SettingsError([f"CROWN_LISTENERS: {name} is no socket of this process"]) from None


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A port that clients come to. Raises SettingsError, naming `setting`, where it is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError:
        raise SettingsError([f"{setting}: cannot listen on {host}:{port}; is the port taken?"]) from None
    # Connections inherit it. Left alone, the kernel would take up to 4 MB for each that does not read.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_QUEUE_BYTES)
    return bound


async def renew(bound: socket.socket, listen: Listen, identity: Identity) -> None:
    """Has `listen`, which lets connections in at `bound`, do so once more with each certificate that we get, until
    it is cancelled. Connections that there are go on."""
    shown = identity.papers()
    while True:
        await asyncio.sleep(tls.LOOK_S)
        if (papers := identity.papers()) is shown:
            continue
        try:
            context = identity.server_context()
        except OSError:
            # Caught in between two writes; once more.
            continue
        shown, bound = papers, bound.dup()
        await listen(bound, context)


def tell_of_handshakes() -> None:
    """Has the log say in a line that a connection did not come about by TLS, for which the loop has a page."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if str(context.get("message", "")).startswith(_HANDSHAKE_FAILED):
            error = context.get("exception")
            log.warning("tls_handshake_failed", error=getattr(error, "reason", None) or type(error).__name__)
        else:
            uncaught.loop_told(loop, context)

    asyncio.get_running_loop().set_exception_handler(handle)


def stop_with_supervisor(settings: Settings, stopping: asyncio.Event) -> None:
    """Sets `stopping` when the supervisor is gone, however it went; nothing where there is none."""
    descriptor = inherited.read(settings.inherited).get(inherited.LIFE)
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        stopping.set()

    loop.add_reader(descriptor, gone)
