"""Three mongod on loopback, as one replica set: what an election and a rollback need."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from stack.control import Stack
from stack.secrets import Secrets
from stack.servers import mongod

NAME = "crown"
_LIMIT_S = 40.0
_STEP_S = 0.1

_Client = AsyncMongoClient[dict[str, Any]]


@dataclass(slots=True)
class Member:
    """One mongod. It can be killed and started again on what it had."""

    command: tuple[str, ...]
    environment: dict[str, str]
    port: int
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it; does not wait."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, env=self.environment, stdout=log, stderr=log
            )

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """Kills it, and returns when it is gone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        await self.process.wait()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[_Client]:
        """A connection to this one, whatever it is in the set."""
        client: _Client = AsyncMongoClient(
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=2_000, w=1
        )
        try:
            yield client
        finally:
            await client.close()


class ReplicaSet:
    """The three, running."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in members)
        self.url = f"mongodb://{hosts}/crown?replicaSet={NAME}"

    async def primary(self, other_than: Member | None = None) -> Member:
        """The member that a majority follows, as soon as there is one."""
        limit = time.monotonic() + _LIMIT_S
        while time.monotonic() < limit:
            for member in self.members:
                if member is not other_than and await _is_primary(member):
                    return member
            await asyncio.sleep(_STEP_S)
        raise AssertionError(f"no primary within {_LIMIT_S:g} s")


@asynccontextmanager
async def replica_set(stack: Stack, folder: Path, ports: range) -> AsyncIterator[ReplicaSet]:
    """Three members on `ports`, founded; the binary and what it needs are those of `stack`."""
    members = [_member(stack, folder / str(port), port) for port in ports]
    try:
        for member in members:
            await member.start()
        found = ReplicaSet(members)
        await _initiate(found)
        await found.primary()
        yield found
    finally:
        for member in members:
            if member.process is not None and member.process.returncode is None:
                member.signal(signal.SIGCONT)
                await member.kill()


def _member(stack: Stack, folder: Path, port: int) -> Member:
    folder.mkdir(parents=True)
    one = mongod.process(stack.layout, Secrets(stack.layout.secrets), port)
    command = (
        one.command[0],
        "--dbpath", str(folder),
        "--bind_ip", "127.0.0.1",
        "--port", str(port),
        "--nounixsocket",
        "--replSet", NAME,
        "--wiredTigerCacheSizeGB", "0.25",
        "--oplogSize", "64",
        "--quiet",
        "--setParameter", "diagnosticDataCollectionEnabled=false",
    )  # fmt: skip
    return Member(command, dict(one.environment), port, folder.with_suffix(".log"))


async def _initiate(found: ReplicaSet) -> None:
    hosts = [
        {"_id": number, "host": f"127.0.0.1:{member.port}"} for number, member in enumerate(found.members)
    ]
    # Quick to notice that a primary is gone; the default is 10 s.
    config = {"_id": NAME, "members": hosts, "settings": {"electionTimeoutMillis": 2_000}}
    limit = time.monotonic() + _LIMIT_S
    async with found.members[0].alone() as client:
        while True:
            try:
                await client.admin.command("replSetInitiate", config)
                return
            except PyMongoError:
                assert time.monotonic() < limit, found.members[0].log.read_text()[-2_000:]
                await asyncio.sleep(_STEP_S)


async def _is_primary(member: Member) -> bool:
    try:
        async with asyncio.timeout(1), member.alone() as client:
            answer = await client.admin.command("hello")
    except (PyMongoError, TimeoutError):
        return False
    return bool(answer["isWritablePrimary"])
