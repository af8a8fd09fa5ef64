"""A connection with JetStream behind it: publishing that answers when the bytes are stored, atomic batches, and its
API."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from nats.aio.client import Client

from crown import metrics, subjects
from crown.bus import streams
from crown.bus.client import SturdyClient
from crown.bus.connection import Connection
from crown.bus.errors import BusError
from crown.bus.messages import Outgoing, PubAck, encode, nobody_listens, read_ack
from crown.errors import BusUnavailable, OutcomeUnknown
from crown.settings import Settings

BATCH_MOST = 1_000
_PIPELINED = 250
_API_TIMEOUT_S = 5.0
# Two looks in a row, each for so long: together less than a health check may take.
_LOOKS = 2
_LOOK_TIMEOUT_S = 2.0


class Bus(Connection):
    """A connection to NATS with JetStream, whose streams are `wanted`."""

    def __init__(self, client: Client, wanted: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(client)
        self._wanted = wanted
        self._pipeline = asyncio.Lock()
        # A stream may be gone with its disk.
        self.on_reconnect(self.ensure)

    @classmethod
    async def connect(cls, settings: Settings, name: str) -> Bus:
        """Connects, and makes the streams what crown/subjects.py says where the user may. Raises BusUnavailable."""
        bus = cls(SturdyClient(), subjects.streams(settings.stream_max_bytes, settings.stream_replicas))
        try:
            await bus.open(settings, name)
            await bus.ensure()
        except (BusError, BusUnavailable):
            await bus.client.close()
            raise
        metrics.BUS.set(1)
        return bus

    # -- streams and consumers

    async def api(self, call: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call of JetStream's API. Raises BusError with its error code; BusUnavailable."""
        body = msgspec.json.encode(request) if request is not None else b""
        try:
            answer = await self.ask(Outgoing(f"$JS.API.{call}", body), {}, _API_TIMEOUT_S)
        except TimeoutError as error:
            raise BusUnavailable("JetStream does not answer in time") from error
        if nobody_listens(answer):
            raise BusUnavailable("JetStream does not answer: nobody listens")
        found: dict[str, Any] = msgspec.json.decode(answer.data)
        if "error" in found:
            raise BusError(found["error"].get("err_code", 0), found["error"].get("description", ""))
        return found

    async def ensure(self) -> None:
        """Makes every stream what it has to be; one that is so already is left alone. Who may not make streams leaves
        it to `prepare`, which may."""
        if self.makes:
            await streams.ensure(self.api, self._wanted)

    async def ensure_consumer(self, consumer: subjects.Consumer) -> None:
        """Makes `consumer` what it has to be; work that is under way goes on. Who may not make consumers looks
        whether it is there, and raises BusUnavailable where it is not."""
        if self.makes:
            await streams.ensure_consumer(self.api, consumer)
        else:
            await streams.look_for(self.api, consumer)

    async def takes(self, stream: str) -> bool:
        """Whether `stream` takes what is published: somebody leads it and hears from a majority. Servers of a cluster
        that are too few keep their links. A leader that changes is waited for."""
        for _ in range(_LOOKS):
            if not self.connected:
                return False
            try:
                async with asyncio.timeout(_LOOK_TIMEOUT_S):
                    found = await self.api(f"STREAM.INFO.{stream}")
            except (BusError, BusUnavailable, TimeoutError):
                continue
            return streams.has_majority(found.get("cluster"))
        return False

    # -- publishing

    async def publish(self, message: Outgoing, timeout_s: float = 2.0) -> PubAck:
        """Publishes and waits until it is stored. Raises IntakeFull, BusUnavailable or BusError where it is
        not, OutcomeUnknown where nobody can say: publish the same again then."""
        return await self._confirm(message, {}, timeout_s)

    async def publish_batch(self, messages: list[Outgoing], timeout_s: float = 5.0) -> None:
        """Publishes 1 to 1,000 messages of one stream: all are stored, or none. Raises as `publish`."""
        if len(messages) == 1:
            await self.publish(messages[0], timeout_s)
            return
        batch = os.urandom(12).hex()
        whole = b"".join(
            encode(message, f"Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {number}\r\n")
            for number, message in enumerate(messages[:-1], 1)
        )
        last = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        await self.write(whole)
        await self._confirm(messages[-1], last, timeout_s)

    async def publish_many(self, messages: Iterable[Outgoing]) -> None:
        """Publishes any number of messages of one stream, in batches, one after another. Raises as
        `publish`; the batches before the one that failed are stored."""
        pending = iter(messages)
        while part := list(itertools.islice(pending, BATCH_MOST)):
            await self.publish_batch(part)

    async def publish_all(self, messages: Iterable[Outgoing], timeout_s: float = 5.0) -> None:
        """Publishes any number of messages to a stream that takes no batches and refuses nothing. Raises as
        `publish`; then some may be stored. The server stores what one connection brings in its order, so that it is
        asked for its word about the last of each few hundred only: a word for each costs more than all else."""
        pending = iter(messages)
        # So many of this process at a time: the server drops what comes when 10,000 wait to be stored, and what is
        # urgent waits behind those that came before it.
        async with self._pipeline:
            while part := list(itertools.islice(pending, _PIPELINED)):
                await self.write(b"".join(encode(message) for message in part[:-1]))
                await self._confirm(part[-1], {}, timeout_s)

    async def tell(self, messages: Iterable[Outgoing]) -> None:
        """Publishes, in one write, to those who listen at this moment: nothing keeps it and nobody confirms it.
        Raises BusUnavailable where the link is down."""
        whole = b"".join(encode(message) for message in messages)
        if whole:
            await self.write(whole)
            await self.client._flush_pending()

    async def _confirm(self, message: Outgoing, headers: Mapping[str, str], timeout_s: float) -> PubAck:
        try:
            return read_ack(await self.ask(message, headers, timeout_s))
        except TimeoutError:
            raise OutcomeUnknown("the bus did not confirm in time") from None
