"""What `crown doctor` finds out by asking: settings, servers and their versions, streams, indexes, clocks. Each
finding that is bad says what to do."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from crown import store, subjects
from stack import services
from stack.commands.nats_client import connected
from stack.control import Stack
from stack.secrets import OPERATOR, read

_PREPARE = "`python -m services.ingest prepare`"
_LIMIT_S = 5.0
_CONFIGURED_LIMIT_S = 60.0
# Schedules, atomic batches and the way a full stream refuses are as new as this.
_OLDEST_NATS = (2, 14)
_OLDEST_MONGODB = (6, 0)
_OLDEST_REDIS = (7, 0)
# Half of what a token may be off by.
_CLOCK_OFF_MOST_S = 15.0
# Of a stream's bound, and of the server's disk.
_FULL = 0.8
_LOAD = """
import importlib, sys
module = importlib.import_module(sys.argv[1])
for name, kind in vars(module).items():
    if isinstance(kind, type) and kind.__module__ == module.__name__ and name.endswith("Settings"):
        kind.load()
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `bad` ones have to be seen to."""

    name: str
    text: str
    bad: bool = False


def examine(stack: Stack) -> list[Finding]:
    """All that can be known of a running stack by asking its parts."""
    return asyncio.run(_examine(stack))


async def _examine(stack: Stack) -> list[Finding]:
    told = services.connections(stack.settings, stack.secrets, OPERATOR)
    found = await asyncio.gather(
        _configuration(stack), _bus(told), _store(told), _cache(told), return_exceptions=False
    )
    return [finding for findings in found for finding in findings]


# -- settings


async def _configuration(stack: Stack) -> list[Finding]:
    """Whether each service takes its settings; the service itself says what it does not."""
    first = {role.arguments[0]: role for role in reversed(services.roles(stack.settings.given))}
    # One after another: each loads all that its service is made of, and the other questions shall not wait for that.
    answers = [await _loads(stack, role) for role in first.values()]
    bad = [Finding("configuration", text, bad=True) for text in answers if text]
    return bad or [Finding("configuration", f"the settings of {len(first)} services are sound")]


async def _loads(stack: Stack, role: services.Role) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _LOAD, f"{role.arguments[0]}.settings"),
        env={**os.environ, **services.environment(stack.settings, stack.secrets, role)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_CONFIGURED_LIMIT_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{role.name}: it does not read its settings within {_CONFIGURED_LIMIT_S:g} s"
    if not process.returncode:
        return ""
    # The last line of the traceback, without the name of the error.
    told = said.decode().strip().splitlines()[-1]
    return f"{role.name}: {told.partition('SettingsError: ')[2] or told}"


# -- the bus


async def _bus(told: Mapping[str, str]) -> list[Finding]:
    began = time.perf_counter()
    try:
        async with (
            asyncio.timeout(_LIMIT_S),
            connected(told, "crown doctor", allow_reconnect=False, error_cb=_quiet) as client,
        ):
            took = time.perf_counter() - began
            server = client.connected_server_version
            title = f"NATS {server.major}.{server.minor}.{server.patch}"
            findings = [_server("nats", title, (server.major, server.minor), _OLDEST_NATS, took)]
            return findings + await _streams(client)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        return [_away("nats", error)]


async def _quiet(error: Exception) -> None:
    """What cannot be reached is a finding, and no line of a log."""
    del error


async def _streams(client: Client) -> list[Finding]:
    bus = client.jetstream()
    wanted = [str(stream["name"]) for stream in subjects.streams(1)]
    there = {str(info.config.name): info for info in await bus.streams_info()}
    missing = [name for name in wanted if name not in there]
    findings = []
    if missing:
        text = f"{', '.join(missing)} are missing: {_PREPARE} makes them; see `crown logs prepare`"
        findings.append(Finding("streams", text, bad=True))
    for name in (name for name in wanted if name in there):
        bound, used = there[name].config.max_bytes or 0, there[name].state.bytes
        if bound > 0 and used > _FULL * bound:
            text = f"{name} is {used / bound:.0%} full: who reads it is away or slow, see `crown status`"
            findings.append(Finding("streams", text, bad=True))
    account = await bus.account_info()
    disk, bounds = (
        account.limits.max_storage,
        sum(max(0, info.config.max_bytes or 0) for info in there.values()),
    )
    if disk > 0 and bounds > _FULL * disk:
        text = (
            f"their bounds come to {bounds / disk:.0%} of what NATS may store: lower CROWN_STREAM_MAX_BYTES"
        )
        findings.append(Finding("streams", text, bad=True))
    return findings or [Finding("streams", f"{len(wanted)} are there, none is more than {_FULL:.0%} full")]


# -- the stores


async def _store(told: Mapping[str, str]) -> list[Finding]:
    began = time.perf_counter()
    client: AsyncMongoClient[Any] = AsyncMongoClient(
        _secret(told, "DATABASE_URL"), serverSelectionTimeoutMS=int(_LIMIT_S * 1_000)
    )
    try:
        async with asyncio.timeout(_LIMIT_S + 1):
            hello = await client.admin.command("hello")
            took = time.perf_counter() - began
            version = (await client.server_info())["version"]
            numbers = tuple(int(part) for part in version.split(".")[:2])
            missing = await store.missing_indexes(client.get_default_database("crown"))
    except (PyMongoError, OSError, TimeoutError) as error:
        return [_away("mongodb", error)]
    finally:
        await client.close()
    return [
        _server("mongodb", f"MongoDB {version}", numbers, _OLDEST_MONGODB, took),
        _replicated(hello),
        Finding(
            "indexes",
            f"{', '.join(missing)} are missing: {_PREPARE} makes them",
            bad=True,
        )
        if missing
        else Finding("indexes", "all are there"),
        _clock(hello["localTime"].replace(tzinfo=UTC)),
    ]


def _replicated(hello: Mapping[str, Any]) -> Finding:
    if "setName" not in hello:
        text = "this MongoDB is no replica set: transactions and majority writes need one, of one member at least"
        return Finding("replica set", text, bad=True)
    members = len(hello.get("hosts", ()))
    return Finding("replica set", f"{hello['setName']} with {members} member{'s' if members != 1 else ''}")


def _clock(theirs: datetime) -> Finding:
    off = abs((datetime.now(UTC) - theirs).total_seconds())
    if off > _CLOCK_OFF_MOST_S:
        text = (
            f"it differs from MongoDB's by {off:.0f} s: tokens and schedules will be off; set up NTP on both"
        )
        return Finding("clock", text, bad=True)
    return Finding("clock", f"within {off:.1f} s of MongoDB's")


async def _cache(told: Mapping[str, str]) -> list[Finding]:
    redis = Redis.from_url(
        _secret(told, "REDIS_HOST"), socket_timeout=_LIMIT_S, socket_connect_timeout=_LIMIT_S
    )
    began = time.perf_counter()
    try:
        await _answer(redis.ping)
        took = time.perf_counter() - began
        about = await _answer(redis.info)
    except (RedisError, OSError) as error:
        return [_away("redis", error)]
    finally:
        await redis.aclose()
    # Valkey says there which Redis it is like.
    version = str(about.get("redis_version", "0.0"))
    name = f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {version}"
    numbers = tuple(int(part) for part in version.split(".")[:2])
    return [_server("redis", name, numbers, _OLDEST_REDIS, took)]


async def _answer(call: Callable[[], Awaitable[Any] | Any]) -> Any:
    answer = call()
    return await answer if isinstance(answer, Awaitable) else answer


# -- words


def _server(name: str, title: str, version: Sequence[int], oldest: Sequence[int], took_s: float) -> Finding:
    if tuple(version) < tuple(oldest):
        needed = ".".join(map(str, oldest))
        return Finding(name, f"{title} is too old: {needed} or newer is needed", bad=True)
    return Finding(name, f"{title} answers in {took_s * 1_000:.0f} ms")


def _away(name: str, error: BaseException) -> Finding:
    variable = {"nats": "NATS_URL", "mongodb": "DATABASE_URL", "redis": "REDIS_HOST"}[name]
    text = f"cannot be reached ({type(error).__name__}): is it up, and is {variable} right?"
    return Finding(name, text, bad=True)


def _secret(told: Mapping[str, str], name: str) -> str:
    """The address of a store, which travels in a file."""
    return read(Path(told[f"{name}_FILE"])) if f"{name}_FILE" in told else told[name]
