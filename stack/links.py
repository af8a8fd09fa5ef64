"""gRPC channels from the outside to one process of the stack, past the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from crown import tls


@asynccontextmanager
async def channel(address: str, folder: Path | None, name: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the process of the part `name`, by TLS with the certificate in `folder`, where there is one."""
    link = tls.Link(address, tls.identity_in(str(folder)) if folder else None, name)
    try:
        yield link.channel()
    finally:
        await link.close()
