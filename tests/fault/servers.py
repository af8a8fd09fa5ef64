"""NATS, MongoDB and Valkey on machines of a network of ours, alone or three of a kind: they stay down as long as a
test wants, and can be cut off. What stands for them in a stack's environment is `environment`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from stack.control import Stack
from stack.secrets import Secrets
from stack.servers import binary, mongod, valkey
from tests.fault.lan import Lan, Machine

NATS_PORT = 4222
NATS_MONITOR_PORT = 8222
MONGO_PORT = 27017
VALKEY_PORT = 6379
SET = "crown"
USER = "operator"
PASSWORD = "of the tests"
_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 30.0
_STEP_S = 0.1


@dataclass(slots=True)
class Server:
    """One program on a machine. What it has stored stays when it is killed and started again."""

    machine: Machine
    program: Sequence[str]
    environment: Mapping[str, str]
    port: int
    log: Path
    # What it keeps.
    store: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it, and returns when it listens."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.machine.command(*self.program), env=self.environment, stdout=log, stderr=log
            )
        async with asyncio.timeout(_START_LIMIT_S):
            while not await self._listens():
                assert self.process.returncode is None, self.log.read_text()[-2_000:]
                await asyncio.sleep(_STEP_S)

    async def _listens(self) -> bool:
        try:
            async with asyncio.timeout(2):
                _, writer = await asyncio.open_connection(self.machine.address, self.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    def signal(self, number: int) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """kill -9, and returns when it is gone."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        await self.process.wait()

    async def stop(self) -> None:
        """As before work on its machine: it writes down what it has and ends. Returns when it is gone."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        async with asyncio.timeout(_STOP_LIMIT_S):
            await self.process.wait()

    async def end(self) -> None:
        """Whatever state it is in."""
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGCONT)
            await self.kill()


@dataclass(frozen=True, slots=True)
class Servers:
    """All of them, by kind, and what a stack is told."""

    lan: Lan
    nats: Sequence[Server]
    mongod: Sequence[Server]
    valkey: Server

    @property
    def environment(self) -> dict[str, str]:
        """NATS_URL and the like."""
        members = ",".join(f"{one.machine.address}:{MONGO_PORT}" for one in self.mongod)
        return {
            "NATS_URL": ",".join(f"nats://{one.machine.address}:{NATS_PORT}" for one in self.nats),
            "NATS_USER": USER,
            "NATS_PASSWORD": PASSWORD,
            "DATABASE_URL": f"mongodb://{members}/crown?replicaSet={SET}",
            "REDIS_HOST": f"redis://{self.valkey.machine.address}:{VALKEY_PORT}/0",
            "CROWN_STREAM_REPLICAS": str(len(self.nats)),
        }


@asynccontextmanager
async def servers(lan: Lan, home: Path, nats_count: int = 1, mongod_count: int = 1) -> AsyncIterator[Servers]:
    """Started, and stopped when the block ends."""
    # Of this stack nothing is started: it says where the programs are.
    spare = Stack(home=home / "programs")
    spare.layout.make()
    kept = Secrets(spare.layout.secrets)
    found = Servers(
        lan,
        _nats(lan, home, nats_count),
        _mongod(lan, home, mongod_count, spare, kept),
        _valkey(lan, home, spare, kept),
    )
    async with AsyncExitStack() as ends:
        for one in (*found.nats, *found.mongod, found.valkey):
            ends.push_async_callback(one.end)
            await one.start()
        await _found_set(found.mongod)
        await _until_nats_serves(found.nats)
        yield found


def _nats(lan: Lan, home: Path, count: int) -> list[Server]:
    machines = [lan.machine(f"nats-{number}") for number in range(count)]
    routes = [f"nats://{machine.address}:6222" for machine in machines]
    found = []
    for machine in machines:
        configuration = home / f"{machine.name}.conf"
        configuration.write_text(_nats_configuration(machine, routes, home / machine.name))
        program = (str(binary.in_scripts("nats-server")), "--config", str(configuration))
        found.append(
            Server(machine, program, {}, NATS_PORT, home / f"{machine.name}.log", home / machine.name)
        )
    return found


def _nats_configuration(machine: Machine, routes: Sequence[str], store: Path) -> str:
    cluster = f'cluster {{ name: crown, listen: "0.0.0.0:6222", routes: {json.dumps(routes)} }}'
    return f"""\
server_name: {machine.name}
listen: "0.0.0.0:{NATS_PORT}"
http: "0.0.0.0:{NATS_MONITOR_PORT}"
jetstream {{ store_dir: {json.dumps(str(store))}, max_file_store: 20GB, sync_interval: always }}
max_payload: 1MB
write_deadline: "5s"
ping_interval: "20s"
ping_max: 3
lame_duck_grace_period: "1s"
lame_duck_duration: "30s"
authorization {{ user: {USER}, password: {json.dumps(PASSWORD)} }}
{cluster if len(routes) > 1 else ""}
"""


def _mongod(lan: Lan, home: Path, count: int, spare: Stack, kept: Secrets) -> list[Server]:
    one = mongod.process(spare.layout, kept, MONGO_PORT)
    found = []
    for machine in [lan.machine(f"mongod-{number}") for number in range(count)]:
        folder = home / machine.name
        folder.mkdir()
        program = (
            one.command[0],
            "--dbpath", str(folder),
            "--bind_ip", "0.0.0.0",
            "--port", str(MONGO_PORT),
            "--nounixsocket",
            "--replSet", SET,
            "--wiredTigerCacheSizeGB", "0.25",
            "--oplogSize", "64",
            "--quiet",
            "--setParameter", "diagnosticDataCollectionEnabled=false",
        )  # fmt: skip
        found.append(
            Server(machine, program, dict(one.environment), MONGO_PORT, folder.with_suffix(".log"), folder)
        )
    return found


def _valkey(lan: Lan, home: Path, spare: Stack, kept: Secrets) -> Server:
    machine = lan.machine("valkey")
    program = (
        valkey.process(spare.layout, kept, VALKEY_PORT).command[0],
        "--bind", "0.0.0.0",
        "--port", str(VALKEY_PORT),
        "--protected-mode", "no",
        "--dir", str(home),
        "--save", "",
        "--appendonly", "no",
        "--maxmemory", "512mb",
        "--maxmemory-policy", "noeviction",
    )  # fmt: skip
    return Server(machine, program, {}, VALKEY_PORT, home / "valkey.log", home / "valkey")


async def _found_set(members: Sequence[Server]) -> None:
    hosts = [
        {"_id": number, "host": f"{one.machine.address}:{MONGO_PORT}"} for number, one in enumerate(members)
    ]
    # Quick to notice that a primary is gone; the default is 10 s.
    config = {"_id": SET, "members": hosts, "settings": {"electionTimeoutMillis": 2_000}}
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        members[0].machine.address, MONGO_PORT, directConnection=True, serverSelectionTimeoutMS=2_000
    )
    async with client, asyncio.timeout(_START_LIMIT_S):
        await client.admin.command("replSetInitiate", config)
    await primary(members)


async def primary(members: Sequence[Server]) -> Server:
    """The member that a majority follows, as soon as there is one."""
    async with asyncio.timeout(_START_LIMIT_S):
        while True:
            for member in members:
                if await _leads(member):
                    return member
            await asyncio.sleep(_STEP_S)


async def _leads(member: Server) -> bool:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        member.machine.address, MONGO_PORT, directConnection=True, serverSelectionTimeoutMS=1_000
    )
    try:
        async with client, asyncio.timeout(2):
            return bool((await client.admin.command("hello"))["isWritablePrimary"])
    except (PyMongoError, TimeoutError):
        return False


async def _until_nats_serves(nodes: Sequence[Server]) -> None:
    """In a cluster: until it has chosen who leads its own affairs."""
    async with asyncio.timeout(_START_LIMIT_S), aiohttp.ClientSession() as http:
        for node in nodes:
            while not await healthy(http, node):  # noqa: ASYNC110 -- it is another process that is asked
                await asyncio.sleep(_STEP_S)


async def healthy(http: aiohttp.ClientSession, node: Server) -> bool:
    """What a node of NATS says of itself, its streams included."""
    try:
        url = f"http://{node.machine.address}:{NATS_MONITOR_PORT}/healthz"
        async with http.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def leader(http: aiohttp.ClientSession, nodes: Sequence[Server], stream: str) -> Server:
    """The node that leads `stream`, as the others see it too."""
    async with asyncio.timeout(_START_LIMIT_S):
        while True:
            for node in nodes:
                if await _leader_by(http, node, stream) == node.machine.name:
                    return node
            await asyncio.sleep(_STEP_S)


async def _leader_by(http: aiohttp.ClientSession, node: Server, stream: str) -> str:
    url = f"http://{node.machine.address}:{NATS_MONITOR_PORT}/jsz?acc=$G&streams=1"
    try:
        async with http.get(url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
            told = await answer.json()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return ""
    for account in told.get("account_details") or ():
        for one in account.get("stream_detail") or ():
            if one["name"] == stream:
                return str((one.get("cluster") or {}).get("leader", ""))
    return ""
