"""Ends a connection as a crashed peer does: with RST, not with the FIN of an orderly close."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast


def hang_up(transport: asyncio.BaseTransport | None) -> None:
    """Drops what was not sent yet. The other side's next read or write fails at once."""
    if transport is None or transport.is_closing():
        return
    if (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # uvloop's transports are none of asyncio's classes.
    cast(asyncio.Transport, transport).abort()
