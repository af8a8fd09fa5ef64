"""What lies in the streams and what waits there, as an operator sees it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client

_ANSWER_TIMEOUT_S = 5.0
_NO_MESSAGE = 10037
# Between two tries to have a server lead.
_VOTE_S = 1.0


class Refused(Exception):
    """JetStream's no; `err_code` is its number."""

    def __init__(self, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.err_code = err_code


@dataclass(frozen=True, slots=True)
class Stored:
    """One message of a stream; `time` in seconds since 1970."""

    sequence: int
    subject: str
    time: float
    data: bytes


class Streams:
    """JetStream's own view. Errors are nats.errors.Error, TimeoutError and Refused."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def names(self) -> list[str]:
        """Every stream."""
        return list((await self._api("STREAM.NAMES"))["streams"] or ())

    async def last(self, stream: str) -> int:
        """The sequence of the last message that the stream took."""
        return int((await self._api(f"STREAM.INFO.{stream}"))["state"]["last_seq"])

    async def stored(self, stream: str, after: int = 0) -> list[Stored]:
        """What it holds behind sequence `after`."""
        found: list[Stored] = []
        while True:
            try:
                answer = await self._api(f"STREAM.MSG.GET.{stream}", {"seq": after + 1, "next_by_subj": ">"})
            except Refused as refused:
                if refused.err_code == _NO_MESSAGE:
                    return found
                raise
            found.append(_stored(answer["message"]))
            after = found[-1].sequence

    async def unsettled(self, prefix: str = "") -> int:
        """How many messages consumers still have to get or to settle, in all streams together whose names begin with
        `prefix`."""
        count = 0
        for stream in (name for name in await self.names() if name.startswith(prefix)):
            for consumer in (await self._api(f"CONSUMER.LIST.{stream}", {}))["consumers"] or ():
                count += consumer["num_pending"] + consumer["num_ack_pending"]
        return count

    @asynccontextmanager
    async def held(self, stream: str, consumer: str) -> AsyncIterator[None]:
        """The consumer hands out nothing while the block runs."""
        path = f"CONSUMER.PAUSE.{stream}.{consumer}"
        until = datetime.now(UTC) + timedelta(hours=1)
        await self._api(path, {"pause_until": until.isoformat()})
        try:
            yield
        finally:
            await self._api(path, {})

    async def lead(self, server: str, stream: str, consumer: str = "") -> None:
        """Has `server` lead the stream, or a consumer of it, which then reads from its disk. Returns when it does."""
        kind, name = ("CONSUMER", f"{stream}.{consumer}") if consumer else ("STREAM", stream)
        while (await self._api(f"{kind}.INFO.{name}"))["cluster"].get("leader") != server:
            # While they vote, nobody can step down.
            with suppress(Refused):
                await self._api(f"{kind}.LEADER.STEPDOWN.{name}", {"placement": {"preferred": server}})
            await asyncio.sleep(_VOTE_S)

    async def _api(self, call: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = json.dumps(request).encode() if request is not None else b""
        answer = await self._client.request(f"$JS.API.{call}", body, timeout=_ANSWER_TIMEOUT_S)
        found: dict[str, Any] = json.loads(answer.data)
        if "error" in found:
            raise Refused(found["error"].get("err_code", 0), found["error"].get("description", ""))
        return found


def secret(environment: Mapping[str, str], name: str) -> str:
    """What the file holds that NAME_FILE points to."""
    return Path(environment[f"{name}_FILE"]).read_text().strip()


def _stored(message: Mapping[str, Any]) -> Stored:
    time = datetime.fromisoformat(message["time"]).timestamp()
    return Stored(message["seq"], message["subject"], time, base64.b64decode(message.get("data", "")))


@asynccontextmanager
async def streams(environment: Mapping[str, str]) -> AsyncIterator[Streams]:
    """Connected with the address and credentials of `environment`, as Stack.environment("operator") has them;
    stays so over restarts of the server."""
    client = Client()

    async def quiet(_error: Exception) -> None:
        """The default prints a traceback for each attempt to connect again."""

    await client.connect(
        environment["NATS_URL"].split(","),
        user=environment["NATS_USER"],
        password=secret(environment, "NATS_PASSWORD"),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.5,  # type: ignore[arg-type]
        ping_interval=2,
        max_outstanding_pings=2,
        error_cb=quiet,
    )
    try:
        yield Streams(client)
    finally:
        await client.close()


AWAY = (nats.errors.Error, TimeoutError, Refused)
