"""The real servers under the real supervisor: what they promise, who may use them, what survives what."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats.errors
import psutil
import pytest
import redis.asyncio
from nats.aio.client import Client
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from crown import bus
from stack import rights, services
from stack.control import Stack
from stack.errors import StackError, StartFailed
from stack.secrets import SERVICES
from stack.state import Health, Phase

PORT_BASE = 13100

USERS = (*SERVICES, "operator")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack")
    with Stack(PORT_BASE, home=home, only=["mongod", "nats", "valkey"]) as running:
        yield running


def monitor(stack: Stack, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.settings.ports.nats_monitor}{path}") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def settings_of(stack: Stack, user: str) -> dict[str, str]:
    """How one user connects, with the files read."""
    found = services.connections(stack.settings, stack.secrets, user)
    files = {
        key.removesuffix("_FILE"): Path(path).read_text() for key, path in found.items() if "_FILE" in key
    }
    return {**found, **files}


async def connect(stack: Stack, user: str, password: str | None = None) -> Client:
    found = settings_of(stack, user)
    client = Client()
    try:
        await client.connect(
            found["NATS_URL"],
            user=found["NATS_USER"],
            password=password or found["NATS_PASSWORD"],
            allow_reconnect=False,
            connect_timeout=5,
            inbox_prefix=bus.inbox_prefix(found["NATS_USER"]),
        )
    except nats.errors.Error:
        await client.close()  # a refused client keeps its socket
        raise
    return client


def test_nats_says_itself_that_it_syncs_always(stack: Stack) -> None:
    assert monitor(stack, "/varz")["jetstream"]["config"]["sync_always"] is True
    assert monitor(stack, "/jsz")["config"]["sync_always"] is True


@pytest.mark.parametrize("user", USERS)
async def test_every_service_has_a_login_of_its_own_at_nats(stack: Stack, user: str) -> None:
    client = await connect(stack, user)
    told = await client.request(bus.RIGHTS, b"")
    assert json.loads(told.data)["data"]["user"] == user
    await client.close()


async def test_nats_lets_nobody_in_with_a_wrong_password(stack: Stack) -> None:
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await connect(stack, "email", password="wrong")


@pytest.mark.parametrize("user", USERS)
async def test_every_service_has_a_login_of_its_own_at_mongod(stack: Stack, user: str) -> None:
    async with AsyncMongoClient[dict[str, Any]](settings_of(stack, user)["DATABASE_URL"]) as client:
        told = await client.admin.command("connectionStatus")
        assert [one["user"] for one in told["authInfo"]["authenticatedUsers"]] == [user]


async def test_transactions_are_there(stack: Stack) -> None:
    async with AsyncMongoClient[dict[str, Any]](settings_of(stack, "ingest-api")["DATABASE_URL"]) as client:
        async with client.start_session() as session, await session.start_transaction():
            await client.crown.groups.insert_one({"_id": "one"}, session=session)
        assert await client.crown.groups.count_documents({"_id": "one"}) == 1


async def test_a_service_reads_no_other_database(stack: Stack) -> None:
    async with AsyncMongoClient[dict[str, Any]](settings_of(stack, "email")["DATABASE_URL"]) as client:
        with pytest.raises(OperationFailure, match="not authorized"):
            await client.admin.command("usersInfo")


@pytest.mark.parametrize("user", [*rights.VALKEY, "operator"])
async def test_every_service_has_a_login_of_its_own_at_valkey(stack: Stack, user: str) -> None:
    async with redis.asyncio.from_url(settings_of(stack, user)["REDIS_HOST"]) as client:
        assert await client.ping()


@pytest.mark.parametrize("name", ["mongod", "nats", "valkey"])
def test_a_killed_server_is_back_soon(stack: Stack, name: str) -> None:
    restarts = stack.of(name).restarts
    pid = stack.kill(name)
    again = stack.wait_healthy(name, after_pid=pid)
    assert (again.restarts, again.last_exit) == (restarts + 1, "killed by SIGKILL")


async def test_going_down_keeps_what_the_servers_hold(stack: Stack) -> None:
    client = await connect(stack, "operator")
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"a message")
    await client.close()
    async with AsyncMongoClient[dict[str, Any]](settings_of(stack, "operator")["DATABASE_URL"]) as database:
        await database.crown.kept.insert_one({"_id": 1})

    stack.down()
    assert {one.health for one in stack.status()} == {Health.STOPPED}
    stack.up()

    client = await connect(stack, "operator")
    assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
    await client.close()
    async with AsyncMongoClient[dict[str, Any]](settings_of(stack, "operator")["DATABASE_URL"]) as database:
        assert await database.crown.kept.count_documents({}) == 1


def test_coming_up_again_changes_nothing(stack: Stack) -> None:
    before = stack.status()
    stack.up()
    assert stack.status() == before


def test_a_running_stack_is_not_taken_for_a_larger_one(stack: Stack) -> None:
    larger = Stack(PORT_BASE, home=stack.settings.home, only=["push"])
    with pytest.raises(StackError, match="runs without sandbox, push"):
        larger.up()
    assert stack.healthy()


def test_a_taken_port_is_one_line_with_owner_and_variable(stack: Stack, tmp_path: Path) -> None:
    other = Stack(PORT_BASE, home=tmp_path, only=["nats"])
    with pytest.raises(StackError) as caught:
        other.up()
    owner = f"nats-server (pid {stack.pid('nats')})"
    assert f"port {PORT_BASE + 22} (nats) is in use by {owner}" in str(caught.value)
    assert "CROWN_STACK_PORT_BASE" in str(caught.value)
    assert other.supervisor_pid() is None


def test_killing_the_supervisor_ends_its_processes(stack: Stack) -> None:
    processes = [psutil.Process(stack.pid(name)) for name in ("mongod", "nats", "valkey")]
    supervisor = stack.supervisor_pid()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    assert stack.state().phase is Phase.DOWN
    stack.up()
    assert stack.healthy()


def test_a_server_elsewhere_is_not_started(tmp_path: Path) -> None:
    elsewhere = {"DATABASE_URL": "mongodb://me:secret@db.example:27017/crown"}
    with Stack(PORT_BASE + 100, home=tmp_path, only=["mongod", "valkey"], env=elsewhere) as stack:
        shown = {one.name: (one.health, one.address) for one in stack.status()}
        assert shown["mongod"] == (Health.EXTERNAL, "db.example:27017/crown")
        assert shown["valkey"][0] is Health.HEALTHY


def test_a_server_that_cannot_start_is_named_and_all_is_down_again(tmp_path: Path) -> None:
    stack = Stack(PORT_BASE + 100, home=tmp_path, only=["mongod", "nats"])
    stack.layout.data("mongod").joinpath("storage.bson").write_text("no database")
    with pytest.raises(StartFailed, match="mongod did not become healthy: it ended 3 times"):
        stack.up()
    assert "fassert" in "\n".join(stack.log_tail("mongod"))
    assert stack.supervisor_pid() is None
    assert {one.health for one in stack.status()} == {Health.STOPPED}


def test_cleaning_leaves_nothing(tmp_path: Path) -> None:
    with Stack(PORT_BASE + 100, home=tmp_path, only=["valkey"]) as stack:
        stack.clean()
    with contextlib.suppress(StopIteration):
        assert next(tmp_path.iterdir()) is None
