"""Makes streams, consumers and indexes, and ends: what a deployment does before its first process starts, and again
with each new version. Processes whose users may do so make what they need by themselves, too; where each has a user
of its own, only the one of this role may. Doing it again changes nothing."""

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
    # The indexes first: nobody writes to the store before there are streams.
    store = await Store.connect(settings, "ingest-prepare")
    await store.close()
    try:
        await _on_the_bus(settings)
    except BusError as error:
        raise BusUnavailable(f"JetStream refuses: {error}") from error
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
