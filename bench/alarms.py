"""Sends login alerts one after the other and waits for the frame of each, in a process of its own: how long it
takes from the call until the person's sockets are told."""

from __future__ import annotations

import asyncio
import time

import grpc

from bench.child import Answer, serve
from bench.intake import connect
from bench.latency import Latencies
from crown import subjects
from crown.client.draft import draft
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub

_PERSON = "alarmed"
_EVERY_S = 0.02
_LIMIT_S = 30.0


class Alarms:
    """The child."""

    async def handle(self, order: Answer) -> Answer:
        """Alarms for `seconds`."""
        nats = await connect(order["nats"])
        heard = await nats.subscribe(subjects.live(subjects.user_topic(_PERSON)))
        request = draft(
            type="real_time", kind="login_alert", user_id=_PERSON, title="Login", message="A new login"
        )
        metadata = tuple(tuple(pair) for pair in order["metadata"])
        taken: list[float] = []
        async with grpc.aio.insecure_channel(order["target"]) as channel:
            ingest = IngestServiceStub(channel)
            end = time.perf_counter() + order["seconds"]
            while (began := time.perf_counter()) < end:
                await ingest.SendNotification(request, metadata=metadata, timeout=_LIMIT_S)
                await heard.next_msg(timeout=_LIMIT_S)
                taken.append(time.perf_counter() - began)
                await asyncio.sleep(max(0.0, _EVERY_S - taken[-1]))
        await nats.close()
        return {"latencies": Latencies.of(taken).text()}


if __name__ == "__main__":
    serve(Alarms().handle)
