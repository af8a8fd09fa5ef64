"""A plain connection to the stack's NATS, for commands that look on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from stack.secrets import read


@asynccontextmanager
async def connected(told: Mapping[str, str], name: str, **options: Any) -> AsyncIterator[Client]:
    """Connected while the block runs; `told` is as stack/services.py has it for processes, `options` are the
    client's. Raises what the client raises."""
    secret = told.get("NATS_PASSWORD_FILE")
    client = await nats.connect(
        told["NATS_URL"].split(","),
        user=told.get("NATS_USER"),
        password=read(Path(secret)) if secret else None,
        name=name,
        **options,
    )
    try:
        yield client
    finally:
        await client.close()
