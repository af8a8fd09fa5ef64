"""Makes streams, consumers and indexes, and ends: what a deployment does before its first process starts, and again
with each new version. Processes make what they need by themselves, too; this one makes all, and says how it went.
Doing it again changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from crown import logs, subjects
from crown.bus import Bus, BusError
from crown.errors import BusUnavailable
from crown.store import Store
from services.ingest.settings import IngestSettings

log = logs.get(__name__)


async def prepare(settings: IngestSettings, _stopping: asyncio.Event) -> None:
    """Raises BusUnavailable and StoreUnavailable: then some of it is done, and the rest is by doing it again."""
    try:
        await _on_the_bus(settings)
    except BusError as error:
        raise BusUnavailable(f"JetStream refuses: {error}") from error
    store = await Store.connect(settings, "ingest-prepare")
    await store.close()
    log.info("prepared", consumers=len(list(consumers())))


async def _on_the_bus(settings: IngestSettings) -> None:
    # Makes the streams.
    bus = await Bus.connect(settings, "ingest-prepare")
    try:
        for consumer in consumers():
            await bus.ensure_consumer(consumer)
    finally:
        await bus.close()


def consumers() -> Iterator[subjects.Consumer]:
    """Every durable consumer of the suite."""
    yield from subjects.readers()
    yield subjects.recorder()
