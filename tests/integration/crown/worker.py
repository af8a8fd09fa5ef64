"""A channel service for crash tests: `python -m tests.integration.crown.worker <channel> <file> [<lease> <most>]`
delivers on the channel and writes each send into the file before it answers. Its claims hold for `lease` seconds, and
it works on `most` deliveries at a time."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path

from crown import rpc
from crown.bus import Bus
from crown.delivery import LEASE_S, Engine
from crown.desk import PersonDesk
from crown.ledger import Ledger
from crown.notification.v1.types_pb2 import Channel
from crown.outcome import Delivered, Outcome
from crown.provider import Attempt
from crown.route import Route
from crown.settings import Settings
from crown.store import Store


class Written:
    """Delivers everything, by writing it down."""

    name = "written"

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def send(self, attempt: Attempt) -> Outcome:
        """Writes one line."""
        os.write(self._file, f"{attempt.delivery_id}\n".encode())
        return Delivered("written")

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        """Nobody can say."""
        return None

    async def close(self) -> None:
        """Nothing to close."""


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    """Delivers until told to stop."""
    channel = getattr(Channel, sys.argv[1])
    bus = await Bus.connect(settings, "worker")
    store = await Store.connect(settings, "worker")
    key = settings.vault_key
    route, desk = Route([Written(Path(sys.argv[2]))]), PersonDesk(channel, store.db, key)
    lease_s, most = (float(sys.argv[3]), int(sys.argv[4])) if len(sys.argv) > 3 else (LEASE_S, 128)
    engine = Engine(channel, route, desk, bus, store, Ledger(store.db), most, lease_s=lease_s)
    async with rpc.Server(settings, None).serving(engine.healthy):
        await engine.run(stopping)
    await bus.close()
    await store.close()


if __name__ == "__main__":
    rpc.run("worker", Settings, main)
