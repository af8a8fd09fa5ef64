"""The relay process: feeds of others in, notifications out."""

from __future__ import annotations

import asyncio
from pathlib import Path

from crown import logs, rpc, tls
from crown.settings import file_of
from crown.token_file import Token
from services.realtime.relay import connection, feeds_file
from services.realtime.relay.follower import Follower
from services.realtime.relay.ingest import Ingest
from services.realtime.relay.outbox import Outbox
from services.realtime.relay.settings import RelaySettings

log = logs.get(__name__)


async def main(settings: RelaySettings, stopping: asyncio.Event) -> None:
    """Follows every feed until `stopping`, then lets what is on its way to ingest arrive."""
    feeds = feeds_file.read(Path(settings.feeds_path))
    token = Token(settings.token.get_secret_value(), file_of("CROWN_RELAY_TOKEN"))
    ingest = Ingest(settings.ingest_address, token.current, tls.identity(settings))
    server = rpc.HealthServer(settings)
    async with server.serving(ingest.healthy), connection.session() as http, asyncio.TaskGroup() as tasks:
        outboxes = [Outbox(feed.name, ingest, settings.in_flight, tasks) for feed in feeds]
        followers = [
            tasks.create_task(Follower(feed, http, outbox).run(), name=feed.name)
            for feed, outbox in zip(feeds, outboxes, strict=True)
        ]
        await stopping.wait()
        await server.health.enter_graceful_shutdown()
        for follower in followers:
            follower.cancel()
        await asyncio.wait(followers)
        left = await asyncio.gather(*(outbox.drain(settings.grace_s) for outbox in outboxes))
        if sum(left):
            log.warning("drain_left_work", count=sum(left))
    await ingest.close()


if __name__ == "__main__":
    rpc.run("realtime-relay", RelaySettings, main)
